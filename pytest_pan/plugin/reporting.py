"""Plugin of the reporting process: receives audits, writes reports and the terminal summary."""

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
from pytest_pan.plugin import requests
from pytest_pan.plugin.items import is_whole_repo, only_shows
from pytest_pan.plugin.options import USAGE_ERROR
from pytest_pan.records import text
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected, RunSummary, summarize
from pytest_pan.records.limits import Limit
from pytest_pan.records.text import escaped
from pytest_pan.verdicts import suggestions
from pytest_pan.verdicts.unchecked import NO_AUDIT, RunScope, unchecked_errors

COLLECTED = "pan_collected"
"""Key of a worker's output, and attribute of a test report: the number of requested audits."""
REQUESTERS = "pan_requesters"
"""Key of a worker's output, and attribute of a test report: requester by item id."""

_RERUN_PLUGINS = ("lfplugin", "stepwiseplugin")
"""Plugins that store the ids of failed tests, to run them again."""

_COMPLETED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class Controller:
    """Plugin of the reporting process: the only process, or xdist's controller."""

    def __init__(
        self,
        ledger: Ledger,
        reports: tuple[tuple[str, Path], ...],
        global_limits: tuple[Limit, ...] = (),
    ) -> None:
        self._ledger, self._reports, self._global_limits = ledger, reports, global_limits
        self._collected: Collected | None = None
        self._requested: set[str] = set()
        self._fulfilled: set[str] = set()
        self._requester_by_item: Mapping[str, str] | None = None
        self._crashed: list[str] = []
        self._failures: list[tuple[float, str]] = []
        """(index, id) of tests that failed before they had an audit and checked all limits."""
        self._runs_tests = False
        self._unchecked: list[str] = []
        self._compared: tuple[Audit, ...] | None = None
        self._baseline_errors: list[str] = []
        self._report_lines: list[str] = []
        self._seconds: dict[str, float] = {}
        self._partial = ""
        self._usage_error = ""
        self._exit = ""
        """Why the run ended early, if code called pytest.exit."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})
        self._usage_error = output.get(USAGE_ERROR, self._usage_error)
        self._receive_count(output.get(COLLECTED))
        self._requester_by_item = output.get(REQUESTERS, self._requester_by_item)

    def _receive_count(self, data: Mapping[str, int] | None) -> None:
        """Store the number of requests, which is the same in every process."""
        if data is not None:
            self._collected = Collected.from_json(data)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        self._runs_tests = not only_shows(session.config)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if excinfo.errisinstance(pytest.exit.Exception):
            self._exit = escaped(f"the run was ended by pytest.exit: {excinfo.value}")

    def is_incomplete(self, session: pytest.Session) -> bool:
        """Return whether an audit is missing because the run ended before its test or model.

        After ``pytest.exit`` also whether any limit failed: the test may have no report.
        """
        if self._exit and not only_shows(session.config):
            audits = self._ledger.audits
            failed = any(v.outcome == "fail" for audit in audits for v in audit.verdicts)
            no_audit = not audits and bool(session.config.getoption("pan_audit"))
            return failed or no_audit or bool(self._summary().missing)
        expected = self._collected.expected if self._collected else 0
        return self._runs_tests and expected > len(self._requested)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ledger.receive(getattr(report, "pan", ()))
        self._receive_count(getattr(report, COLLECTED, None))
        self._requester_by_item = getattr(report, REQUESTERS, self._requester_by_item)
        if report.when not in ("setup", "call", "teardown"):  # xdist's report of a crashed worker
            self._crashed.append(report.nodeid)
        requester = getattr(report, "pan_requester", "")
        self._requested |= {requester} - {""}
        if getattr(report, "pan_fulfilled", False):
            self._fulfilled |= {requester} - {""}
        is_done = getattr(report, "pan_limit_failed", False) or getattr(report, "pan_done", False)
        if requester and report.failed and not is_done:
            self._failures.append((getattr(report, "pan_index", math.inf), report.nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._ledger.receive(self._ledger.send())
        self._add_crashed()
        if self._usage_error:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._find_unchecked(session)
        if only_shows(session.config) or not self._has_content():
            return
        self._compare_with_baselines(session, exitstatus)
        self._partial = (
            _why_partial(session, exitstatus)
            or self._exit
            or self._why_incomplete()
            or "; ".join(self._unchecked)
        )
        self._write_reports(session)

    def _write_reports(self, session: pytest.Session) -> None:
        """Write all reports; JSON last, as it has the time that the others took."""
        lines = dict.fromkeys(self._reports, "")
        for kind, path in sorted(lines, key=lambda report: report[0] == "json"):
            try:
                write = append_text if kind == "markdown-append" else write_text
                write(path, self._render(kind, session.config))
            except Exception as error:  # the other reports must still be written
                lines[kind, path] = f"NOT written, {path}: {type(error).__name__}: {error}"
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            else:
                lines[kind, path] = f"report: {path.as_uri()}"
        self._report_lines += lines.values()

    def _add_crashed(self) -> None:
        """Add failures for tests that crashed a worker and requested, or may have, an audit."""
        for nodeid in self._crashed:
            by_item = self._requester_by_item
            requester = nodeid if by_item is None else by_item.get(nodeid, "")
            if requester:
                self._requested.add(requester)
                self._failures.append((math.inf, nodeid))

    def _compare_with_baselines(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare all audits with their baselines; update these if the option says so."""
        baselines = self._ledger.baselines
        if baselines is None or exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return
        from pytest_pan.verdicts.baseline_limits import compare_and_update

        updated = compare_and_update(self._ledger.audits, baselines)
        self._compared = updated.audits
        for nodeid, message in updated.errors.items():
            _report_error(session.config, nodeid, message)
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        self._baseline_errors = list(updated.errors.values())

    @property
    def _audits(self) -> tuple[Audit, ...]:
        return self._ledger.audits if self._compared is None else self._compared

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count errors of no test without a progress letter, and inconclusive tests separately."""
        if getattr(report, "pan_unchecked", False):
            return "error", "", ""
        if getattr(report, "pan_inconclusive", False):
            return "inconclusive", "?", "INCONCLUSIVE"
        return None

    def _find_unchecked(self, session: pytest.Session) -> None:
        """Report an error for each audit or limit that should have been checked and was not."""
        self._collected = session.config.stash.get(requests.COLLECTED, self._collected)
        is_complete = session.exitstatus in _COMPLETED and not (self._usage_error or self._exit)
        if not self._runs_tests or self._failures or not is_complete:
            return
        scope = _run_scope(session.config)
        unchecked = dict(
            unchecked_errors(self._summary(), self._ledger.audits, self._global_limits, scope)
        )
        for nodeid, message in unchecked.items():
            if nodeid == NO_AUDIT and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
                continue
            _report_error(session.config, nodeid, message)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._unchecked = list(unchecked.values())

    def _summary(self) -> RunSummary:
        return summarize(self._collected or Collected(), len(self._fulfilled), self._ledger.audits)

    def _has_content(self) -> bool:
        """Return whether to report: a run that only collects must not overwrite a report."""
        return not self._usage_error and bool(self._requested or self._ledger.audits)

    def _why_incomplete(self) -> str:
        if not self._failures:
            return ""
        names = ", ".join(dict.fromkeys(nodeid for _, nodeid in sorted(self._failures)))
        return f"tests failed without a verdict on a limit: {names}"

    def _render(self, kind: str, config: pytest.Config) -> str:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        audits, summary = self._audits, self._summary()
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
        if self._usage_error:
            terminalreporter.write_line(f"ERROR: {escaped(self._usage_error)}", red=True)
        if only_shows(terminalreporter.config) or not self._has_content():
            if self._runs_tests and (excluded := self._summary().excluded()):
                terminalreporter.write_line(f"pan: {', '.join(excluded)}", yellow=True)
            return
        self._write_summary(terminalreporter)

    def _write_summary(self, terminalreporter: Any) -> None:
        from pytest_pan.report import terminal

        terminalreporter.section("padding audit", sep="=")
        if self._partial:
            terminalreporter.write_line(text.line(f"PARTIAL: {self._partial}"), yellow=True)
        if not self._ledger.audits:
            terminalreporter.write_line("no audit ran", yellow=True)
        for line in terminal.lines(self._audits):
            colours = {"FAIL": {"red": True}, "INCONCLUSIVE": {"yellow": True}}
            terminalreporter.write_line(line, **colours.get(line.split(maxsplit=1)[0], {}))
        summary = self._summary()
        is_short = summary.missing or summary.excluded()
        terminalreporter.write_line(summary.line(), **({"yellow": True} if is_short else {}))
        if terminalreporter.config.getoption("pan_suggest"):
            for audit in self._audits:
                for line in suggestions.lines(audit):
                    terminalreporter.write_line(text.line(line))
        for line in (*self._unchecked, *self._baseline_errors):
            terminalreporter.write_line(f"ERROR: {escaped(line)}", red=True)
        for line in self._report_lines:
            terminalreporter.write_line(escaped(line))


def _run_scope(config: pytest.Config) -> RunScope:
    is_rerun = config.getoption("lf", False) or config.getoption("stepwise", False)
    return RunScope(
        has_audit_option=bool(config.getoption("pan_audit")),
        is_whole_repo=is_whole_repo(config) and not is_rerun,
    )


def _report_error(config: pytest.Config, nodeid: str, message: str) -> None:
    """Report an error that belongs to no test, so that the last line and JUnit include it.

    Plugins that rerun failed tests do not receive it: no later run has a test with that id.
    """
    manager = config.pluginmanager
    plugins = [manager.get_plugin(name) for name in _RERUN_PLUGINS]
    excluded = [plugin for plugin in plugins if plugin is not None]
    log_report = manager.subset_hook_caller("pytest_runtest_logreport", remove_plugins=excluded)
    failures = (("setup", "failed", escaped(message)), ("teardown", "passed", None))
    for when, outcome, longrepr in failures:
        report = pytest.TestReport(
            nodeid=escaped(nodeid),
            location=("pyproject.toml", 0, escaped(nodeid)),
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]
            longrepr=longrepr,
            when=when,  # type: ignore[arg-type]
        )
        report.pan_unchecked = outcome == "failed"  # type: ignore[attr-defined]
        log_report(report=report)


def _why_partial(session: pytest.Session, exitstatus: int) -> str:
    stopped = session.shouldfail or session.shouldstop
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return f"the run was interrupted ({stopped})" if stopped else "the run was interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "pytest had an internal error"
    return f"the run stopped early: {stopped}" if stopped else ""
