"""What fixtures, hooks and declared models share: asking for audits, and holding them to limits."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_pan.config.pyproject import Declared
from pytest_pan.engine.audits import Ledger, Tick
from pytest_pan.plugin.inconclusive import POLICY
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected
from pytest_pan.records.errors import PanError, PanWarning
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.verdicts.judge import behind, explain

OFF = "the padding audit is off: run pytest --pan-audit, or set pan_audit = true in the ini file"

LEDGER = pytest.StashKey[Ledger]()
"""There for a run that audits."""
REPORTS = pytest.StashKey[tuple[tuple[str, Path], ...]]()
DECLARED = pytest.StashKey[Declared]()
ASKER = pytest.StashKey[str]()
"""Who asks for an audit: a test, or the declared model that an item is about."""
COLLECTED = pytest.StashKey[Collected]()
"""How many audits this process was asked for."""
BEYOND = pytest.StashKey[bool]()
"""There for an item that failed by a limit, and by nothing else."""
OPEN = pytest.StashKey[bool]()
"""There for an item that no limit failed, with one that is inconclusive and is to be told."""
SEEN = pytest.StashKey[list[Audit]]()
"""The audits that the running test asked for."""

_SAVE, _RESTORE, _CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[K"

Factory = Callable[..., Audit]


def factory(config: pytest.Config) -> Factory:
    """What the fixture ``pan`` is: makes an audit, or fails the test that asks."""
    ledger = config.stash.get(LEDGER, None)
    if ledger is None:
        pytest.skip(OFF)

    def make(model: object, images: object, **given: Any) -> Audit:
        audit, failure = None, ""
        try:
            with _progress(config) as tick:
                audit = ledger.audit(model, images, given, tick)
        except PanError as error:
            failure = str(error)
        if audit is None:  # outside the except block, so that the message stands once and alone
            fail("\n".join((failure, *ledger.troubles())))
        config.stash.setdefault(SEEN, []).append(audit)
        _warn(audit, ledger.troubles())
        return audit

    return make


def _warn(audit: Audit, troubles: Iterable[str]) -> None:
    """Warns, last of all: where warnings are errors the test fails by that, and the audit is safe
    for the report and for the next who asks.
    """
    from pytest_pan.engine.notes import warn

    failure = ""
    try:
        warn(audit)
        for trouble in troubles:
            warnings.warn(trouble, PanWarning, stacklevel=2)
    except PanWarning as warning:
        failure = f"PanWarning, in a run where warnings are errors: {warning}"
    if failure:
        fail(failure)


def fail(message: str) -> NoReturn:
    """Fails the running test with that message alone."""
    pytest.fail(message, pytrace=False)


def hold(item: pytest.Item, audit: Audit, limits: Iterable[Limit]) -> str:
    """Holds an audit against limits; the findings as one text, empty if all of them hold.

    Those that are inconclusive are findings or not, as ``pan_inconclusive`` says.
    """
    verdicts = item.config.stash[LEDGER].judge(audit, limits)
    policy = item.config.stash[POLICY]
    for verdict in verdicts:
        _tell(item, verdict)
        if verdict.outcome == "inconclusive" and policy == "warn":
            item.stash[OPEN] = True
    links = [f"{path}" for kind, path in item.config.stash[REPORTS] if kind == "html"]
    report = links[0] if links else ""
    failing = ("fail", "inconclusive") if policy == "fail" else ("fail",)
    failed = [verdict for verdict in verdicts if verdict.outcome in failing]
    return "\n".join(explain(audit, verdict, report=report) for verdict in failed)


def _tell(item: pytest.Item, verdict: Verdict) -> None:
    """Tells JUnit of a verdict: the value, and how the limit stands to it. A test that is run again
    tells it anew, not twice.
    """
    name = verdict.limit.keyword
    told: dict[str, object] = {
        name: verdict.value,
        f"{name}.bound": verdict.limit.bound,
        f"{name}.outcome": verdict.outcome,
        f"{name}.interval": verdict.interval and "{:.6g} to {:.6g}".format(*verdict.interval),
    }
    others = [(key, value) for key, value in item.user_properties if key not in told]
    own = [(key, value) for key, value in told.items() if value is not None]
    item.user_properties[:] = [*others, *own]


def refuse(item: pytest.Item, findings: str) -> NoReturn:
    """Fails an item by its limits."""
    item.stash[BEYOND] = True
    fail(findings)


def show_behind(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Adds the layers and neurons behind the figures to an assertion that failed on them."""
    seen = item.config.stash.get(SEEN, [])
    if call.when == "call" and call.excinfo and call.excinfo.errisinstance(AssertionError):
        held = [v for v in getattr(item, "funcargs", {}).values() if isinstance(v, Audit)]
        audits = {id(audit): audit for audit in (*held, *seen)}.values()
        text = "\n".join(line for audit in audits for line in behind(audit))
        add_section = getattr(report.longrepr, "addsection", None)
        if text and add_section is not None:
            add_section("padding audit", text)
        elif text:
            report.sections.append(("padding audit", text))
    if call.when == "teardown":
        seen.clear()


@contextmanager
def _progress(config: pytest.Config) -> Iterator[Tick]:
    """Tells of images done behind the cursor, where people watch a terminal, and wipes it."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is None or capture is None or not reporter.isatty or "CI" in os.environ:
        yield lambda done, expected: None
        return
    writer, shown, wrote = config.get_terminal_writer(), time.monotonic(), False

    def tick(done: int, expected: int | None) -> None:
        nonlocal shown, wrote
        if time.monotonic() - shown < 0.5:
            return
        text = f" pan: {done}{f' of {expected}' if expected else ''} images"
        with capture.global_and_fixture_disabled():
            writer.write(_SAVE + text + _RESTORE, flush=True)
        shown, wrote = time.monotonic(), True

    try:
        yield tick
    finally:
        if wrote:
            with capture.global_and_fixture_disabled():
                writer.write(_SAVE + _CLEAR_LINE + _RESTORE, flush=True)
