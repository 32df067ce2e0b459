"""The process that reports, the only one or xdist's controller: what arrives, and the reports."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.ledger import Ledger
from pytest_pan.report.files import append_text, write_text

USAGE = "pan_usage_error"
"""Where a worker leaves the message of a wrong configuration."""


class Controller:
    """The hooks of the process that reports: the only one, or xdist's controller."""

    def __init__(self, ledger: Ledger, reports: tuple[tuple[str, Path], ...]) -> None:
        self._ledger, self._reports = ledger, reports
        self._written: list[str] = []
        self._seconds: dict[str, float] = {}
        self._partial = ""
        self._usage = ""
        self._asked = False
        self._troubles: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._usage = getattr(node, "workeroutput", {}).get(USAGE, self._usage)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ledger.receive(getattr(report, "pan", ()))
        crashed = report.when not in ("setup", "call", "teardown")  # xdist's report of a worker
        asks = getattr(report, "pan_asks", crashed)
        self._asked |= asks
        if asks and report.failed and not getattr(report, "pan_beyond", False):
            self._troubles.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._ledger.receive(self._ledger.send())
        if self._usage:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if not self._reportable():
            return
        self._partial = _why_partial(session, exitstatus) or self._why_incomplete()
        said = dict.fromkeys(self._reports, "")
        for kind, path in sorted(said, key=lambda report: report[0] == "json"):  # it tells how
            try:  # long the others took
                write = append_text if kind == "markdown-append" else write_text
                write(path, self._render(kind, session.config))
            except Exception as error:  # one report that fails must not take the others along
                said[kind, path] = f"NOT written, {path}: {type(error).__name__}: {error}"
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            else:
                said[kind, path] = f"report: {path.as_uri()}"
        self._written += said.values()

    def _reportable(self) -> bool:
        """Whether there is anything to say: a run that only collects must not wipe a report."""
        return not self._usage and (self._asked or bool(self._ledger.audits))

    def _why_incomplete(self) -> str:
        if not self._troubles:
            return ""
        names = ", ".join(dict.fromkeys(self._troubles))
        return f"tests failed without a verdict on a limit: {names}"

    def _render(self, kind: str, config: pytest.Config) -> str:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        audits = self._ledger.audits
        if kind == "json":
            from pytest_pan.report import json

            return json.render(
                audits, partial=self._partial, created=created, seconds=self._seconds
            )
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        if kind.startswith("markdown"):
            from pytest_pan.report import markdown

            return markdown.render(audits, partial=self._partial, created=created, command=command)
        from pytest_pan.report import html

        started = time.perf_counter()
        page = html.render(audits, partial=self._partial, created=created, command=command)
        self._seconds["report"] = time.perf_counter() - started
        return page

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pytest_pan.report import terminal

        if self._usage:
            terminalreporter.write_line(f"ERROR: {self._usage}", red=True)
        if not self._reportable():
            return
        terminalreporter.section("padding audit", sep="=")
        if self._partial:
            terminalreporter.write_line(f"PARTIAL: {self._partial}", yellow=True)
        if not self._ledger.audits:
            terminalreporter.write_line("no audit ran", yellow=True)
        for line in terminal.lines(self._ledger.audits):
            bad = line.lstrip().startswith("FAIL")
            terminalreporter.write_line(line, **({"red": True} if bad else {}))
        for line in self._written:
            terminalreporter.write_line(line)


def _why_partial(session: pytest.Session, exitstatus: int) -> str:
    stopped = session.shouldfail or session.shouldstop
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return f"the run was interrupted ({stopped})" if stopped else "the run was interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "pytest had an internal error"
    return f"the run stopped early: {stopped}" if stopped else ""
