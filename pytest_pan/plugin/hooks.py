"""Hooks of a run with audits or audit tests."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from inspect import signature

import pytest

from pytest_pan.config.options import SUGGEST
from pytest_pan.config.pyproject import Declared, model_table
from pytest_pan.engine.audits import Ledger
from pytest_pan.instrument.ranks import launched
from pytest_pan.plugin import baselines, cache_dir, reports, requests
from pytest_pan.plugin.exit_status import ExitStatus
from pytest_pan.plugin.items import (
    ITEM_IDS,
    DeclaredLimit,
    declared_models,
    find_item_ids,
    is_whole_repo,
    model_id,
)
from pytest_pan.plugin.names import NAMES, ParameterNames
from pytest_pan.plugin.options import FIXTURES, USAGE_ERROR
from pytest_pan.plugin.reporting import COLLECTED, REQUESTERS, Controller
from pytest_pan.plugin.settings import (
    POLICY,
    command_line_settings,
    is_active,
    limits_of_item,
    probes_for,
    read_declared,
    read_policy,
    read_settings,
    torchrun_rank,
    where_set,
)
from pytest_pan.plugin.torchrun import Rank, silence
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.completeness import count_requests
from pytest_pan.records.errors import ConfigError
from pytest_pan.records.text import escaped
from pytest_pan.verdicts import suggestions

_INDEX = pytest.StashKey[int]()
"""Index of an item among the collected ones, which all xdist workers have in the same order."""
_DESELECTED = pytest.StashKey[list[str]]()
"""Requesters of the deselected items."""
_UNSENT_REQUESTERS = pytest.StashKey[dict[str, str]]()
"""Requester by item id, in an xdist worker; removed once a test report has it."""


def configure(config: pytest.Config) -> None:
    """Read and check all options and declarations; raise UsageError for a wrong one."""
    declared = config.stash[requests.DECLARED] = read_declared(config)
    find_item_ids(config)
    config.stash[POLICY] = read_policy(config, declared)
    if not is_active(config):
        baselines.refuse_update(config)
        return
    settings = read_settings(config, declared.settings)
    config.stash[requests.REPORTS] = reports.reports(config)
    _check_devices(config, settings, declared)
    cache_dir.why_disabled(config)
    cache_dir.clear_once(config)
    ledger = Ledger(settings, baselines.read(config, declared))
    config.stash[requests.LEDGER] = ledger
    _register_plugins(config, ledger, declared)


def _register_plugins(config: pytest.Config, ledger: Ledger, declared: Declared) -> None:
    register = config.pluginmanager.register
    fixtures = config.stash[requests.AUDITED_FIXTURES] = requests.AuditedFixtures(config)
    register(fixtures, "pan-audited-fixtures")
    names = config.stash[NAMES] = ParameterNames()
    register(names, "pan-parameter-names")
    rank = torchrun_rank(config)
    if rank:
        silence(config)
    elif not hasattr(config, "workerinput"):
        written = config.stash[requests.REPORTS]
        controller = Controller(ledger, written, declared.global_limits)
        register(controller, "pan-controller")
        register(ExitStatus(controller), "pan-exit-status")
        register(cache_dir.CacheSharing(ledger), "pan-cache-sharing")
    if launched()[1] > 1:
        register(Rank(ledger, rank), "pan-rank")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Open the cache, which needs pytest's own cache to be configured."""
    config = session.config
    if requests.LEDGER in config.stash and not config.getoption("collectonly"):
        config.stash[requests.LEDGER].cache = cache_dir.open_cache(config)


def _check_devices(config: pytest.Config, settings: Settings, declared: Declared) -> None:
    """Raise UsageError for a missing device, or a precision that the device does not support."""
    if settings.device != "auto":
        _describe(
            settings.device,
            settings.precision,
            device_from=where_set(config, "device", declared.settings),
            precision_from=where_set(config, "precision", declared.settings),
        )
    models = declared.models if config.stash[ITEM_IDS] or is_whole_repo(config) else ()
    overridden = command_line_settings(config)
    for model in models:
        own = {key: value for key, value in model.settings.items() if key not in overridden}
        device = own.get("device", settings.device)
        precision = own.get("precision", settings.precision)
        if (device, precision) != (settings.device, settings.precision):
            table = model_table(model.name)
            _describe(device, precision, device_from=table, precision_from=table)


def _describe(
    name: str,
    precision: str,
    *,
    device_from: str = "--pan-device",
    precision_from: str = "--pan-precision",
) -> str:
    """Return a device's description; raise UsageError, which names where the setting is from."""
    from pytest_pan.instrument import devices

    where = device_from
    try:
        device = devices.resolve_device(name)
        where = precision_from
        devices.check_precision(precision, device)
        return devices.describe(device)
    except ConfigError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    ledger = config.stash.get(requests.LEDGER, None)
    if ledger is None or config.getoption("collectonly"):
        return []
    s = ledger.settings
    lines = [
        f"pan: audit on {_describe(s.device, s.precision)}",
        f"pan: {s.precision}, deterministic, theta {s.theta}, batch size {s.batch_size}, "
        f"seed {s.seed}, workers {'auto' if s.workers is None else s.workers}",
        cache_dir.header(config),
        *([baselines.header(ledger.baselines)] if ledger.baselines else []),
    ]
    return [escaped(line) for line in lines]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Hide ids of declared models from pytest, which would look for files of that name."""
    config, arguments = session.config, session.config.args
    item_ids = config.stash[ITEM_IDS]
    config.args = [argument for argument in arguments if argument not in item_ids]
    try:
        return (yield)
    finally:
        config.args = arguments


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add the declared models to the session's collectors."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        node = declared_models(collector)
        report.result = [*(report.result or ()), *([node] if node else ())]
    return report


def prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check all markers, and let audit tests use pan_audit or be skipped."""
    try:
        if requests.DECLARED not in config.stash:  # no option or file concerned audits
            configure(config)
        _prepare(config, items)
    except pytest.UsageError as error:
        if not hasattr(config, "workeroutput"):
            raise
        # An error in a worker crashes xdist's controller. Run nothing instead, and let the
        # controller end the run with the message.
        config.workeroutput[USAGE_ERROR] = str(error)
        items.clear()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.stash.setdefault(_DESELECTED, []).append(_requester(item))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count the requested audits, for the reporting process."""
    config = session.config
    for number, item in enumerate(session.items):
        item.stash[_INDEX] = number
    declared = [model_id(model) for model in config.stash[requests.DECLARED].models]
    deselected = config.stash.setdefault(_DESELECTED, [])
    collects_models = config.stash[ITEM_IDS] or is_whole_repo(config)
    count = config.stash[requests.COLLECTED] = count_requests(
        [item.stash.get(requests.REQUESTER, "") for item in session.items],
        deselected,
        models=declared,
        left_out=0 if collects_models else len(declared),
    )
    if hasattr(config, "workeroutput"):
        requesters = {
            item.nodeid: item.stash[requests.REQUESTER]
            for item in session.items
            if requests.REQUESTER in item.stash
        }
        config.workeroutput[COLLECTED] = count.to_json()
        config.workeroutput[REQUESTERS] = config.stash[_UNSENT_REQUESTERS] = requesters


def _prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    ledger = config.stash.get(requests.LEDGER, None)
    global_limits = config.stash[requests.DECLARED].global_limits
    suggests = config.getoption("pan_suggest")
    if ledger is not None and suggests:
        ledger.need(suggestions.PROBES)
    for item in items:
        declared = (item.limit,) if isinstance(item, DeclaredLimit) else ()
        is_marked = not declared and item.get_closest_marker("pan") is not None
        limits = declared or limits_of_item(item, global_limits)
        if ledger is not None:
            ledger.need(probes_for(limits))
            baselines.require(limits, ledger.baselines)
        if is_marked and not limits and not _uses_audit(item) and not suggests:
            raise pytest.UsageError(
                f"marker of {item.nodeid}: pan has no limit, so it checks nothing, got none; "
                "allowed: a limit such as max_pan_fraction=0.03, or none if the test takes the "
                f"fixture pan_audit. {SUGGEST} prints limits to start from."
            )
        requester = _requester(item)
        if not requester:
            continue
        item.stash[requests.REQUESTER] = requester
        fixtures: list[str] = getattr(item, "fixturenames", [])
        if ledger is None:
            item.add_marker(pytest.mark.skip(reason=requests.OFF))
        elif is_marked and "pan_audit" not in fixtures:
            fixtures.append("pan_audit")


def _requester(item: pytest.Item) -> str:
    """Return the id of the test or declared model that requests an audit; empty if none does."""
    if isinstance(item, DeclaredLimit):
        return item.model.nodeid
    fixtures: list[str] = getattr(item, "fixturenames", [])
    is_request = item.get_closest_marker("pan") is not None or bool(FIXTURES & set(fixtures))
    return item.nodeid if is_request else ""


def _uses_audit(item: pytest.Item) -> bool:
    """Return whether the test function takes an audit fixture as an argument."""
    function = getattr(item, "function", None)
    return function is not None and bool(FIXTURES & set(signature(function).parameters))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    if requests.LEDGER in item.config.stash:
        item.config.stash[requests.LEDGER].place = item.stash.get(_INDEX, 0)
        item.config.stash[requests.RUNNING] = item


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget what an earlier run of the same item, for plugins that rerun tests, has left."""
    for key in (
        requests.LIMIT_FAILED,
        requests.INCONCLUSIVE,
        requests.LIMITS_CHECKED,
        requests.AUDIT_FAILED,
        requests.DONE,
    ):
        if key in item.stash:
            del item.stash[key]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Check the limits of a marked test, and fail it after its own body has run."""
    if requests.LEDGER not in item.config.stash or isinstance(item, DeclaredLimit):
        return (yield)
    limits = limits_of_item(item, item.config.stash[requests.DECLARED].global_limits)
    if not limits:
        item.stash[requests.LIMITS_CHECKED] = True
        return (yield)
    audit: Audit | None = getattr(item, "funcargs", {}).get("pan_audit")
    if audit is None:
        requests.fail(
            "the marker pan was added after collection: let the test take the fixture pan_audit"
        )
    failures = requests.check(item, audit, limits)
    try:
        yield
    except pytest.skip.Exception:
        if not failures:
            raise
    if failures:  # outside the except block, so that pytest shows no exception chain
        requests.fail_by_limits(item, failures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add audits, verdicts and what the reporting process counts to a test report."""
    report = yield
    ledger = item.config.stash.get(requests.LEDGER, None)
    if ledger is None:
        return report
    requests.explain_assertion(item, call, report)
    ran = report.when == "call" and (not report.skipped or hasattr(report, "wasxfail"))
    requester = item.stash.get(requests.REQUESTER, "")
    fulfilled = ran and item.config.stash[requests.AUDITED_FIXTURES].has_audit(item)
    if fulfilled and requests.LIMITS_CHECKED in item.stash:
        item.stash[requests.DONE] = requests.AUDIT_FAILED not in item.stash
    fields = {
        "pan": ledger.send(),
        "pan_requester": requester,
        "pan_index": ledger.place,
        "pan_limit_failed": requests.LIMIT_FAILED in item.stash,
        "pan_fulfilled": fulfilled,
        "pan_done": item.stash.get(requests.DONE, False),
        "pan_inconclusive": (
            report.when == "call" and report.passed and requests.INCONCLUSIVE in item.stash
        ),
    }
    if (requesters := item.config.stash.get(_UNSENT_REQUESTERS, None)) is not None:
        fields[REQUESTERS] = requesters
        del item.config.stash[_UNSENT_REQUESTERS]
    if requester:
        fields[COLLECTED] = item.config.stash[requests.COLLECTED].to_json()
    for name, value in fields.items():
        setattr(report, name, value)
    return report
