"""Audit requests of tests and declared models: make the audit, check its limits."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_pan.config.pyproject import Declared
from pytest_pan.engine.audits import Ledger, Tick
from pytest_pan.plugin.names import NAMES
from pytest_pan.plugin.settings import POLICY
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected
from pytest_pan.records.errors import PanError, PanWarning
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.records.text import cut, escaped
from pytest_pan.verdicts.judge import explain, summarize

OFF = "the padding audit is off: run pytest --pan-audit, or set pan_audit = true in the ini file"

LEDGER = pytest.StashKey[Ledger]()
"""Set in a run with audits."""
REPORTS = pytest.StashKey[tuple[tuple[str, Path], ...]]()
DECLARED = pytest.StashKey[Declared]()
REQUESTER = pytest.StashKey[str]()
"""Id of the test, or of the item's declared model, that requests an audit."""
COLLECTED = pytest.StashKey[Collected]()
LIMIT_FAILED = pytest.StashKey[bool]()
"""Set for an item that failed only by its limits."""
INCONCLUSIVE = pytest.StashKey[bool]()
"""Set for an item with an inconclusive limit, if that is to be reported."""
LIMITS_CHECKED = pytest.StashKey[bool]()
"""Set for an item whose limits were all checked, or that has none."""
DONE = pytest.StashKey[bool]()
"""Set for an item that received its audits and checked its limits, whatever its own code did."""
AUDIT_FAILED = pytest.StashKey[bool]()
"""Set for an item that requested an audit and did not receive it."""
TEST_AUDITS = pytest.StashKey[list[Audit]]()
"""The audits that the running test requested."""
RUNNING = pytest.StashKey[pytest.Item]()
"""The running item."""

_SAVE, _RESTORE, _CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[K"

Factory = Callable[..., Audit]


@dataclass(frozen=True, slots=True)
class Answer:
    """An audit, or why there is none. Both if the audit's warnings are errors in this run."""

    audit: Audit | None
    failure: str = ""


def factory(config: pytest.Config) -> Factory:
    """Return the fixture ``pan``: a function that makes an audit, or fails the running test."""
    if LEDGER not in config.stash:
        pytest.skip(OFF)

    def make(model: object, images: object, **options: Any) -> Audit:
        item = config.stash.get(RUNNING, None)
        if item is not None and not options.get("name"):
            options["name"] = config.stash[NAMES].default_name(item, model, images, options)
        try:
            return deliver(config, request(config, model, images, options))
        except BaseException:
            if item is not None:
                item.stash[AUDIT_FAILED] = True
            raise

    return make


def request(
    config: pytest.Config, model: object, images: object, options: Mapping[str, Any]
) -> Answer:
    """Make an audit; an outcome exception of pytest's, raised in the user's code, is a failure."""
    ledger = config.stash[LEDGER]
    try:
        with _progress(config) as tick:
            audit = ledger.audit(model, images, dict(options), tick)
    except PanError as error:
        failure = str(error)
    except OUTCOMES as error:
        failure = broken_off(error, str(options.get("name") or ""))
    else:
        return Answer(audit, _warn(audit, ledger.troubles()))
    return Answer(None, "\n".join((failure, *ledger.troubles())))


OUTCOMES = (
    pytest.skip.Exception,
    pytest.xfail.Exception,
    pytest.fail.Exception,
    pytest.exit.Exception,
)
"""Exceptions by which a test reports its own outcome. In the middle of an audit they break it off;
none of them may make the run look complete."""


def broken_off(error: BaseException, name: str) -> str:
    """Return the failure of an audit that one of :data:`OUTCOMES` broke off."""
    functions = ("skip", "xfail", "fail", "exit")
    pairs = zip(functions, OUTCOMES, strict=True)
    function = next(name for name, kind in pairs if isinstance(error, kind))
    reason = json.dumps(str(getattr(error, "msg", "")), ensure_ascii=False)
    return (
        f"{name}: " * bool(name) + f"the audit was broken off: pytest.{function}({cut(reason)}) "
        "was called in the model or while its images were read. Call it in the test or in a "
        "fixture, before the audit starts."
    )


def deliver(config: pytest.Config, answer: Answer) -> Audit:
    """Return the audit to the running test, or fail the test."""
    if answer.audit is not None:
        config.stash.setdefault(TEST_AUDITS, []).append(answer.audit)
    if answer.failure or answer.audit is None:
        fail(answer.failure)
    return answer.audit


def _warn(audit: Audit, cache_problems: Iterable[str]) -> str:
    """Warn about an audit that is already recorded.

    Returns why the test fails if warnings are errors, else an empty text.
    """
    from pytest_pan.engine.notes import warn

    name = escaped(cut(str(audit.model["name"])))
    try:
        warn(replace(audit, model={**audit.model, "name": name}))
        for problem in cache_problems:
            warnings.warn(escaped(problem), PanWarning, stacklevel=2)
    except PanWarning as warning:
        return f"PanWarning, in a run where warnings are errors: {warning}"
    return ""


def fail(message: str) -> NoReturn:
    """Fail the running test with a message and no traceback."""
    pytest.fail(escaped(message, keep="\n"), pytrace=False)


def check(item: pytest.Item, audit: Audit, limits: Iterable[Limit]) -> str:
    """Check an audit's limits; return the failures as one text, empty if there are none.

    Inconclusive limits are failures if ``pan_inconclusive`` is ``fail``.
    """
    verdicts = item.config.stash[LEDGER].judge(audit, limits)
    policy = item.config.stash[POLICY]
    for verdict in verdicts:
        _add_properties(item, verdict)
        if verdict.outcome == "inconclusive" and policy == "warn":
            item.stash[INCONCLUSIVE] = True
    html_reports = [f"{path}" for kind, path in item.config.stash[REPORTS] if kind == "html"]
    report = html_reports[0] if html_reports else ""
    failing = ("fail", "inconclusive") if policy == "fail" else ("fail",)
    failed = [verdict for verdict in verdicts if verdict.outcome in failing]
    item.stash[LIMITS_CHECKED] = True
    return "\n".join(explain(audit, verdict, report=report) for verdict in failed)


def _add_properties(item: pytest.Item, verdict: Verdict) -> None:
    """Set a verdict's JUnit properties, which a rerun of the test replaces."""
    name = escaped(verdict.limit.keyword)
    properties: dict[str, object] = {
        name: verdict.value,
        f"{name}.bound": verdict.limit.bound,
        f"{name}.outcome": verdict.outcome,
        f"{name}.interval": verdict.interval and "{:.6g} to {:.6g}".format(*verdict.interval),
    }
    others = [(key, value) for key, value in item.user_properties if key not in properties]
    new = [(key, value) for key, value in properties.items() if value is not None]
    item.user_properties[:] = [*others, *new]


def fail_by_limits(item: pytest.Item, failures: str) -> NoReturn:
    """Fail an item by its limits."""
    item.stash[LIMIT_FAILED] = True
    fail(failures)


def explain_assertion(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Add the layers and neurons of the test's audits to the report of a failed assertion."""
    requested = item.config.stash.get(TEST_AUDITS, [])
    if call.when == "call" and call.excinfo and call.excinfo.errisinstance(AssertionError):
        fixtures = [v for v in getattr(item, "funcargs", {}).values() if isinstance(v, Audit)]
        audits = {id(audit): audit for audit in (*fixtures, *requested)}.values()
        text = "\n".join(line for audit in audits for line in summarize(audit))
        add_section = getattr(report.longrepr, "addsection", None)
        if text and add_section is not None:
            add_section("padding audit", text)
        elif text:
            report.sections.append(("padding audit", text))
    if call.when == "teardown":
        requested.clear()


class AuditedFixtures:
    """Plugin that determines which tests received an audit.

    A test receives an audit if it requests one, or if it uses a fixture of a wider scope that
    requested one for an earlier test.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._requested = config.stash.setdefault(TEST_AUDITS, [])
        self._active: dict[pytest.FixtureDef[Any], pytest.Item | pytest.Collector] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True  # pytest shows the callers of a fixture that fails
        before = len(self._requested)
        value = yield
        if len(self._requested) > before and fixturedef.scope != "function":
            self._active[fixturedef] = request.node
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._active.pop(fixturedef, None)

    def has_audit(self, item: pytest.Item) -> bool:
        """Return whether the running test received an audit."""
        if self._requested:
            return True
        names, chain = getattr(item, "fixturenames", ()), item.listchain()
        return any(
            fixture.argname in names and node in chain for fixture, node in self._active.items()
        )


AUDITED_FIXTURES = pytest.StashKey[AuditedFixtures]()


@contextmanager
def _progress(config: pytest.Config) -> Iterator[Tick]:
    """Show the number of processed images after the cursor of an interactive terminal."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is None or capture is None or not reporter.isatty or "CI" in os.environ:
        yield lambda done, expected: None
        return
    writer, last_shown, is_shown = config.get_terminal_writer(), time.monotonic(), False

    def tick(done: int, expected: int | None) -> None:
        nonlocal last_shown, is_shown
        if time.monotonic() - last_shown < 0.5:
            return
        text = f" pan: {done}{f' of {expected}' if expected else ''} images"
        with capture.global_and_fixture_disabled():
            writer.write(_SAVE + text + _RESTORE, flush=True)
        last_shown, is_shown = time.monotonic(), True

    try:
        yield tick
    finally:
        if is_shown:
            with capture.global_and_fixture_disabled():
                writer.write(_SAVE + _CLEAR_LINE + _RESTORE, flush=True)
