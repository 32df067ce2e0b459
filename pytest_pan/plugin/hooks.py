"""The hooks of a run that has to do with audits; torch is imported by the first of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from inspect import signature

import pytest

from pytest_pan.config.pyproject import Declared, model_table
from pytest_pan.engine.audits import Ledger
from pytest_pan.instrument.ranks import launched
from pytest_pan.plugin import baselines as baselining
from pytest_pan.plugin import cache_dir as caching
from pytest_pan.plugin import inconclusive as policy
from pytest_pan.plugin import reports as destinations
from pytest_pan.plugin import requests as asking
from pytest_pan.plugin import settings as options
from pytest_pan.plugin.items import (
    NAMED,
    DeclaredLimit,
    all_collected,
    find_named,
    model_id,
    root_of,
)
from pytest_pan.plugin.options import FIXTURES, USAGE
from pytest_pan.plugin.reporting import ASKERS, COLLECTED, Controller
from pytest_pan.plugin.served import SERVED, Served
from pytest_pan.plugin.torchrun import Companion, be_silent
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.completeness import counted
from pytest_pan.records.errors import ConfigError

_PLACE = pytest.StashKey[int]()
"""The number of an item among those collected: the same in all of xdist's workers."""
_DROPPED = pytest.StashKey[list[str]]()
"""Who asks for an audit in the items that were deselected."""
_ASKERS = pytest.StashKey[dict[str, str]]()
"""Who asks in each item of an xdist worker; there until a report has taken it along."""


def configure(config: pytest.Config) -> None:
    """Reads all that was set and declared; UsageError for what is wrong."""
    declared = config.stash[asking.DECLARED] = options.read_declared(config)
    find_named(config)
    config.stash[policy.POLICY] = policy.read(config, declared)
    if options.active(config):
        settings = options.settings(config, declared.settings)
        reports = destinations.reports(config)
        config.stash[asking.REPORTS] = reports
        _check_devices(config, settings, declared)
        caching.why_unwanted(config)
        caching.clear_once(config)
        baselines = baselining.read(config, declared)
        ledger = config.stash[asking.LEDGER] = Ledger(settings, baselines)
        served = config.stash[SERVED] = Served(config)
        config.pluginmanager.register(served, "pan-served")
        rank = options.rank(config)
        if rank:
            be_silent(config)
        elif not hasattr(config, "workerinput"):
            controller = Controller(ledger, reports, declared.everywhere)
            config.pluginmanager.register(controller, "pan-controller")
            config.pluginmanager.register(caching.Sharing(ledger), "pan-sharing")
        if launched()[1] > 1:
            config.pluginmanager.register(Companion(ledger, rank), "pan-companion")
    else:
        baselining.refuse_update(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Finds the cache: before, pytest's own was not there."""
    config = session.config
    if asking.LEDGER in config.stash and not config.getoption("collectonly"):
        config.stash[asking.LEDGER].cache = caching.cache_of(config)


def _check_devices(config: pytest.Config, settings: Settings, declared: Declared) -> None:
    """UsageError for a device that is not there, and for a precision that it does not have."""
    if settings.device != "auto":
        _describe(
            settings.device,
            settings.precision,
            of=options.place(config, "device", declared.settings),
            precision_of=options.place(config, "precision", declared.settings),
        )
    models = declared.models if config.stash[NAMED] or all_collected(config) else ()
    overruled = options.on_command_line(config)
    for model in models:
        own = {key: value for key, value in model.settings.items() if key not in overruled}
        device = own.get("device", settings.device)
        precision = own.get("precision", settings.precision)
        if (device, precision) != (settings.device, settings.precision):
            _describe(device, precision, of=model_table(model.name))


def _describe(name: str, precision: str, *, of: str = "", precision_of: str = "") -> str:
    from pytest_pan.instrument import devices as environment

    option = of or "--pan-device"
    try:
        device = environment.resolve_device(name)
        option = precision_of or of or "--pan-precision"
        environment.check_precision(precision, device)
        return environment.describe(device)
    except ConfigError as error:
        raise pytest.UsageError(f"{option}: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    ledger = config.stash.get(asking.LEDGER, None)
    if ledger is None or config.getoption("collectonly"):
        return []
    s = ledger.settings
    return [
        f"pan: audit on {_describe(s.device, s.precision)}",
        f"pan: {s.precision}, deterministic, theta {s.theta}, batch size {s.batch_size}, "
        f"seed {s.seed}, workers {'auto' if s.workers is None else s.workers}",
        caching.header(config),
        *([baselining.header(ledger.baselines)] if ledger.baselines else []),
    ]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Takes ids of declared models out of the arguments, which pytest would look for on disk."""
    config, given = session.config, session.config.args
    ours = config.stash[NAMED]
    config.args = [arg for arg in given if arg not in ours]
    try:
        return (yield)
    finally:
        config.args = given


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        node = root_of(collector)
        report.result = [*(report.result or ()), *([node] if node else ())]
    return report


def prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Checks every marker, and lets those who ask be skipped or have their audit."""
    try:
        if asking.DECLARED not in config.stash:  # only now a test turned out to ask
            configure(config)
        _prepare(config, items)
    except pytest.UsageError as error:
        if not hasattr(config, "workeroutput"):
            raise
        # A worker that raises here takes xdist's controller down with an internal error: it
        # runs nothing instead, and the controller ends the run with the message.
        config.workeroutput[USAGE] = str(error)
        items.clear()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.stash.setdefault(_DROPPED, []).append(_asker(item))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Counts the audits that this run is to make, for the process that reports."""
    config = session.config
    for number, item in enumerate(session.items):
        item.stash[_PLACE] = number
    declared = [model_id(model) for model in config.stash[asking.DECLARED].models]
    dropped = config.stash.setdefault(_DROPPED, [])
    chosen = config.stash[NAMED] or all_collected(config)
    count = config.stash[asking.COLLECTED] = counted(
        [item.stash.get(asking.ASKER, "") for item in session.items],
        dropped,
        models=declared,
        left_out=0 if chosen else len(declared),
    )
    if hasattr(config, "workeroutput"):
        config.workeroutput[COLLECTED] = count.to_json()
        askers = {i.nodeid: i.stash[asking.ASKER] for i in session.items if asking.ASKER in i.stash}
        config.workeroutput[ASKERS] = config.stash[_ASKERS] = askers


def _prepare(config: pytest.Config, found: list[pytest.Item]) -> None:
    """Checks every marker, and lets those who ask be skipped or have their audit."""
    ledger = config.stash.get(asking.LEDGER, None)
    everywhere = config.stash[asking.DECLARED].everywhere
    for item in found:
        own = (item.limit,) if isinstance(item, DeclaredLimit) else ()
        marked = not own and item.get_closest_marker("pan") is not None
        limits = own or options.limits(item, everywhere)
        if ledger is not None:
            ledger.need(options.probes_for(limits))
            baselining.need(limits, ledger.baselines)
        if marked and not limits and not _takes_audit(item):
            raise pytest.UsageError(
                f"marker of {item.nodeid}: pan without a limit checks nothing, got none; "
                "allowed: max_pan_fraction=0.03 and the like, or none where the test takes the "
                "fixture pan_audit"
            )
        asker = _asker(item)
        if not asker:
            continue
        item.stash[asking.ASKER] = asker
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if ledger is None:
            item.add_marker(pytest.mark.skip(reason=asking.OFF))
        elif marked and "pan_audit" not in fixtures:
            fixtures.append("pan_audit")


def _asker(item: pytest.Item) -> str:
    """Who asks for an audit with this item: the test, or the declared model; empty if nobody."""
    if isinstance(item, DeclaredLimit):
        return item.model.nodeid
    fixtures: list[str] = getattr(item, "fixturenames", [])
    asks = item.get_closest_marker("pan") is not None or bool(FIXTURES & set(fixtures))
    return item.nodeid if asks else ""


def _takes_audit(item: pytest.Item) -> bool:
    """Whether the test function itself names one of our fixtures."""
    function = getattr(item, "function", None)
    return function is not None and bool(FIXTURES & set(signature(function).parameters))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    if asking.LEDGER in item.config.stash:
        item.config.stash[asking.LEDGER].place = item.stash.get(_PLACE, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if asking.LEDGER not in item.config.stash or isinstance(item, DeclaredLimit):
        return (yield)
    limits = options.limits(item, item.config.stash[asking.DECLARED].everywhere)
    if not limits:
        return (yield)
    audit: Audit | None = getattr(item, "funcargs", {}).get("pan_audit")
    if audit is None:
        asking.fail(
            "marker pan was added after collection: let the test take the fixture pan_audit"
        )
    findings = asking.hold(item, audit, limits)
    try:
        yield
    except pytest.skip.Exception:
        if not findings:
            raise
    if findings:  # outside the except block, so that the message stands once and alone
        asking.refuse(item, findings)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    ledger = item.config.stash.get(asking.LEDGER, None)
    if ledger is not None:
        asking.show_behind(item, call, report)
        asker = item.stash.get(asking.ASKER, "")
        report.pan = ledger.send()  # type: ignore[attr-defined]
        report.pan_asks = asker  # type: ignore[attr-defined]
        report.pan_place = ledger.place  # type: ignore[attr-defined]
        report.pan_beyond = asking.BEYOND in item.stash  # type: ignore[attr-defined]
        checked = report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))
        had = checked and item.config.stash[SERVED].had(item)
        report.pan_had = had  # type: ignore[attr-defined]
        if (askers := item.config.stash.get(_ASKERS, None)) is not None:
            report.pan_askers = askers  # type: ignore[attr-defined]
            del item.config.stash[_ASKERS]
        open_ = report.when == "call" and report.passed and asking.OPEN in item.stash
        report.pan_open = open_  # type: ignore[attr-defined]
        if asker:
            count = item.config.stash[asking.COLLECTED]
            report.pan_collected = count.to_json()  # type: ignore[attr-defined]
    return report
