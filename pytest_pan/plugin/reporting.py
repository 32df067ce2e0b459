"""The process that reports, the only one or xdist's controller: what arrives, and the reports."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.config.files import append_text, write_text
from pytest_pan.engine.audits import Ledger
from pytest_pan.plugin import requests as asking
from pytest_pan.plugin.items import all_collected
from pytest_pan.plugin.options import USAGE
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected, Ran, ran
from pytest_pan.records.limits import Limit
from pytest_pan.verdicts.unchecked import NOTHING, Aim, never_checked

COLLECTED = "pan_collected"
"""Where a worker leaves how many audits it was asked for."""
ASKERS = "pan_askers"
"""Where a worker leaves which of all tests ask for an audit, and for whom."""

_REPEATERS = ("lfplugin", "stepwiseplugin")
"""Plugins that keep the ids of what failed, to run it again."""

_ENDED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class Controller:
    """The hooks of the process that reports: the only one, or xdist's controller."""

    def __init__(
        self,
        ledger: Ledger,
        reports: tuple[tuple[str, Path], ...],
        everywhere: tuple[Limit, ...] = (),
    ) -> None:
        self._ledger, self._reports, self._everywhere = ledger, reports, everywhere
        self._collected: Collected | None = None
        self._asked: set[str] = set()
        self._had: set[str] = set()
        self._askers: Mapping[str, str] | None = None
        self._crashed: list[str] = []
        self._unchecked: list[str] = []
        self._looped = False
        self._written: list[str] = []
        self._kept: tuple[Audit, ...] | None = None
        self._unkept: list[str] = []
        self._seconds: dict[str, float] = {}
        self._partial = ""
        self._usage = ""
        self._troubles: list[tuple[float, str]] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        self._usage = output.get(USAGE, self._usage)
        self._count(output.get(COLLECTED))
        self._askers = output.get(ASKERS, self._askers)

    def _count(self, sent: Mapping[str, int] | None) -> None:
        """Every process collects the same, so that one of them tells it all."""
        if sent is not None:
            self._collected = Collected.from_json(sent)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        hidden = ("collectonly", "setupplan")
        self._looped = not any(session.config.getoption(name, False) for name in hidden)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ledger.receive(getattr(report, "pan", ()))
        self._count(getattr(report, COLLECTED, None))
        self._askers = getattr(report, ASKERS, self._askers)
        if report.when not in ("setup", "call", "teardown"):  # xdist's, of a worker that is gone
            self._crashed.append(report.nodeid)
        asks = getattr(report, "pan_asks", "")
        self._asked |= {asks} - {""}
        if getattr(report, "pan_had", False):
            self._had |= {asks} - {""}
        if asks and report.failed and not getattr(report, "pan_beyond", False):
            self._troubles.append((getattr(report, "pan_place", math.inf), report.nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._ledger.receive(self._ledger.send())
        self._take_crashed()
        if self._usage:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._find_unchecked(session)
        if not self._reportable():
            return
        self._keep(session, exitstatus)
        self._partial = (
            _why_partial(session, exitstatus)
            or self._why_incomplete()
            or "; ".join(self._unchecked)
        )
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

    def _take_crashed(self) -> None:
        """A worker that went down in a test took an audit along if the test asks for one; if no
        worker has lived to say which do, it may have.
        """
        for nodeid in self._crashed:
            asks = nodeid if self._askers is None else self._askers.get(nodeid, "")
            if asks:
                self._asked.add(asks)
                self._troubles.append((math.inf, nodeid))

    def _keep(self, session: pytest.Session, exitstatus: int) -> None:
        """Compares all audits with their baselines, and writes these where it is asked to."""
        baselines = self._ledger.baselines
        if baselines is None or exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return
        from pytest_pan.verdicts.ratchet import keep

        kept = keep(self._ledger.audits, baselines)
        self._kept = kept.audits
        for nodeid, why in kept.errors.items():
            _report_error(session.config, nodeid, why)
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        self._unkept = list(kept.errors.values())

    @property
    def _audits(self) -> tuple[Audit, ...]:
        return self._ledger.audits if self._kept is None else self._kept

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Errors that no test owns count, but are no step of the progress; and a test is not
        counted as passed where a limit is inconclusive.
        """
        if getattr(report, "pan_unchecked", False):
            return "error", "", ""
        if getattr(report, "pan_open", False):
            return "inconclusive", "?", "INCONCLUSIVE"
        return None

    def _find_unchecked(self, session: pytest.Session) -> None:
        """What was to be checked and was not, each an error of its own beside the tests'."""
        self._collected = session.config.stash.get(asking.COLLECTED, self._collected)
        done = session.exitstatus in _ENDED and not self._troubles and not self._usage
        if not self._looped or not done:
            return
        unchecked = dict(
            never_checked(self._ran(), self._ledger.audits, self._everywhere, _aim(session.config))
        )
        for nodeid, why in unchecked.items():
            if nodeid == NOTHING and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
                continue
            _report_error(session.config, nodeid, why)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._unchecked = list(unchecked.values())

    def _ran(self) -> Ran:
        return ran(self._collected or Collected(), len(self._had), self._ledger.audits)

    def _reportable(self) -> bool:
        """Whether there is anything to say: a run that only collects must not wipe a report."""
        return not self._usage and bool(self._asked or self._ledger.audits)

    def _why_incomplete(self) -> str:
        if not self._troubles:
            return ""
        names = ", ".join(dict.fromkeys(nodeid for _, nodeid in sorted(self._troubles)))
        return f"tests failed without a verdict on a limit: {names}"

    def _render(self, kind: str, config: pytest.Config) -> str:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        audits, summary = self._audits, self._ran()
        if kind == "json":
            from pytest_pan.report import json

            return json.render(
                audits,
                partial=self._partial,
                created=created,
                seconds=self._seconds,
                ran=summary.to_json(),
            )
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        if kind.startswith("markdown"):
            from pytest_pan.report import markdown

            return markdown.render(
                audits, partial=self._partial, created=created, command=command, ran=summary
            )
        from pytest_pan.report import html

        started = time.perf_counter()
        page = html.render(
            audits, partial=self._partial, created=created, command=command, ran=summary
        )
        self._seconds["report"] = time.perf_counter() - started
        return page

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        from pytest_pan.report import terminal

        if self._usage:
            terminalreporter.write_line(f"ERROR: {self._usage}", red=True)
        if not self._reportable():
            if self._looped and (said := self._ran().left_out()):
                terminalreporter.write_line(f"pan: {', '.join(said)}", yellow=True)
            return
        terminalreporter.section("padding audit", sep="=")
        if self._partial:
            terminalreporter.write_line(f"PARTIAL: {self._partial}", yellow=True)
        if not self._ledger.audits:
            terminalreporter.write_line("no audit ran", yellow=True)
        for line in terminal.lines(self._audits):
            colours = {"FAIL": {"red": True}, "INCONCLUSIVE": {"yellow": True}}
            terminalreporter.write_line(line, **colours.get(line.split(maxsplit=1)[0], {}))
        summary = self._ran()
        short = summary.missing or summary.left_out()
        terminalreporter.write_line(summary.line(), **({"yellow": True} if short else {}))
        for line in (*self._unchecked, *self._unkept):
            terminalreporter.write_line(f"ERROR: {line}", red=True)
        for line in self._written:
            terminalreporter.write_line(line)


def _aim(config: pytest.Config) -> Aim:
    """How much this run was about."""
    narrowed = config.getoption("lf", False) or config.getoption("stepwise", False)
    return Aim(
        asked=bool(config.getoption("pan_audit")), whole=all_collected(config) and not narrowed
    )


def _report_error(config: pytest.Config, nodeid: str, why: str) -> None:
    """An error that no test owns, so that counts, JUnit and the last line have it too; not those
    who would run it again, for no test of a later run has that id and could take it off their list.
    """
    manager = config.pluginmanager
    deaf = [plugin for name in _REPEATERS if (plugin := manager.get_plugin(name)) is not None]
    tell = manager.subset_hook_caller("pytest_runtest_logreport", remove_plugins=deaf)
    for when, outcome, text in (("setup", "failed", why), ("teardown", "passed", None)):
        report = pytest.TestReport(
            nodeid=nodeid,
            location=("pyproject.toml", 0, nodeid),
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]
            longrepr=text,
            when=when,  # type: ignore[arg-type]
        )
        report.pan_unchecked = outcome == "failed"  # type: ignore[attr-defined]
        tell(report=report)


def _why_partial(session: pytest.Session, exitstatus: int) -> str:
    stopped = session.shouldfail or session.shouldstop
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return f"the run was interrupted ({stopped})" if stopped else "the run was interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "pytest had an internal error"
    return f"the run stopped early: {stopped}" if stopped else ""
