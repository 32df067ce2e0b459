"""pytest's side: hooks and fixtures, nothing else; torch is imported by the first audit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_pan import options
from pytest_pan.controller import USAGE, Controller
from pytest_pan.errors import ConfigError, PanError
from pytest_pan.judge import explain
from pytest_pan.ledger import Ledger, Tick
from pytest_pan.ranks import launched
from pytest_pan.records import Audit

if TYPE_CHECKING:
    from pytest_pan.folders import Transform
    from pytest_pan.probes.outputs import Pick

OFF = "the padding audit is off: run pytest --pan-audit, or set pan_audit = true in the ini file"
_FIXTURES = {"pan", "pan_audit"}
_LEDGER = pytest.StashKey[Ledger]()
_REPORTS = pytest.StashKey[tuple[tuple[str, Path], ...]]()
_ASKS = pytest.StashKey[bool]()
"""There for an item that needs an audit."""
_BEYOND = pytest.StashKey[bool]()
"""There for an item that failed by a limit, and by nothing else."""

_SIGTERM = pytest.StashKey[Any]()
"""What SIGTERM did before, where it has been changed."""

_SAVE, _RESTORE, _CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[K"

Factory = Callable[..., Audit]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", options.MARKER)
    if options.active(config):
        settings = options.settings(config)
        reports = options.reports(config)
        config.stash[_REPORTS] = reports
        if settings.device != "auto":
            _describe(settings.device, settings.precision)
        ledger = config.stash[_LEDGER] = Ledger(settings)
        rank = options.rank(config)
        if rank:
            _be_silent(config)
            config.pluginmanager.register(Whisper(rank), "pan-rank")
        elif not hasattr(config, "workerinput"):
            config.pluginmanager.register(Controller(ledger, reports), "pan-controller")
        if launched()[1] > 1:
            config.stash[_SIGTERM] = _stop_when_told()


def _be_silent(config: pytest.Config) -> None:
    """Of several processes that run the same tests the first one speaks for all."""
    config.pluginmanager.set_blocked("terminalreporter")
    if hasattr(config.option, "xmlpath"):
        config.option.xmlpath = None


class Whisper:
    """Failures of a process that is silent, on the standard error: another may not know of them."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            print(f"rank {self._rank}: {report.nodeid}: {report.longreprtext}", file=sys.stderr)


def pytest_sessionstart(session: pytest.Session) -> None:
    ledger = session.config.stash.get(_LEDGER, None)
    if ledger is not None and launched()[1] > 1 and not session.config.getoption("collectonly"):
        # before any fixture can fail: a process that nobody joins would be waited for
        try:
            ledger.join()
        except PanError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    before = config.stash.get(_SIGTERM, None)
    if before is not None:
        signal.signal(signal.SIGTERM, before)


def _stop_when_told() -> Any:
    """Lets the launcher's SIGTERM, sent when another process died, end the run as Ctrl-C does:
    what had finished is reported. Returns the handler that was there.
    """

    def stop(_signum: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt("terminated by the launcher: has another process died?")

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, stop)


def _describe(name: str, precision: str) -> str:
    from pytest_pan import environment

    option = "--pan-device"
    try:
        device = environment.resolve_device(name)
        option = "--pan-precision"
        environment.check_precision(precision, device)
        return environment.describe(device)
    except ConfigError as error:
        raise pytest.UsageError(f"{option}: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    ledger = config.stash.get(_LEDGER, None)
    if ledger is None or config.getoption("collectonly"):
        return []
    s = ledger.settings
    return [
        f"pan: audit on {_describe(s.device, s.precision)}",
        f"pan: {s.precision}, deterministic, theta {s.theta}, batch size {s.batch_size}, "
        f"seed {s.seed}, workers {'auto' if s.workers is None else s.workers}",
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Lets a marked function use pan_audit from the start, so that a parametrised pan_model or
    pan_images parametrises it too; added after collection, a fixture comes too late for that.
    """
    if not isinstance(obj, FunctionType) or not collector.istestfunction(obj, name):  # type: ignore[attr-defined]
        return
    own: list[pytest.Mark] = getattr(obj, "pytestmark", [])
    if any(mark.name == "usefixtures" and "pan_audit" in mark.args for mark in own):
        return
    if any(mark.name == "pan" for mark in own) or collector.get_closest_marker("pan"):
        pytest.mark.usefixtures("pan_audit")(obj)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    try:
        _prepare(config, items)
    except pytest.UsageError as error:
        if not hasattr(config, "workeroutput"):
            raise
        # A worker that raises here takes xdist's controller down with an internal error: it
        # runs nothing instead, and the controller ends the run with the message.
        config.workeroutput[USAGE] = str(error)
        items.clear()


def _prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Checks every marker, and lets marked tests be skipped or have their audit."""
    ledger = config.stash.get(_LEDGER, None)
    for item in items:
        fixtures: list[str] = getattr(item, "fixturenames", [])
        marked = item.get_closest_marker("pan") is not None
        asks = bool(_FIXTURES & set(fixtures))
        limits = options.limits(item) if marked else ()
        if ledger is not None:
            ledger.need(options.probes_for(limits))
        if marked and not limits and not _takes_audit(item):
            raise pytest.UsageError(
                f"marker of {item.nodeid}: pan without a limit checks nothing; "
                "write max_pan_fraction=0.03, or let the test take the fixture pan_audit"
            )
        if not marked and not asks:
            continue
        item.stash[_ASKS] = True
        if ledger is None:
            item.add_marker(pytest.mark.skip(reason=OFF))
        elif marked and "pan_audit" not in fixtures:
            fixtures.append("pan_audit")


def _takes_audit(item: pytest.Item) -> bool:
    """Whether the test function itself names one of our fixtures."""
    function = getattr(item, "function", None)
    return function is not None and bool(_FIXTURES & set(signature(function).parameters))


@pytest.fixture(scope="session")
def pan_model() -> object:
    """The model to audit, an nn.Module or "module:callable": override it in conftest.py."""
    pytest.fail(
        "pytest-pan has no model: define a fixture pan_model in conftest.py that returns a "
        'torch.nn.Module or "module:callable"',
        pytrace=False,
    )


@pytest.fixture(scope="session")
def pan_images() -> object:
    """The images to audit on, a folder, tensor, Dataset or DataLoader: override it."""
    pytest.fail(
        "pytest-pan has no images, and never invents them: define a fixture pan_images in "
        "conftest.py that returns a folder, a tensor (N, C, H, W), a Dataset or a DataLoader of "
        "images like those the model was trained on, 160 or more if you can",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def pan_transform() -> Transform | None:
    """What images of a folder or a Dataset go through first: override it in conftest.py."""
    return None


@pytest.fixture(scope="session")
def pan_outputs() -> Pick | None:
    """Picks logits, embeddings or detections from what the model returns: override it."""
    return None


@pytest.fixture(scope="session")
def pan_classes() -> object:
    """Names of the classes, a sequence or torchvision weights: override it in conftest.py."""
    return None


@pytest.fixture
def pan_audit(
    pan: Factory,
    pan_model: object,
    pan_images: object,
    pan_transform: Transform | None,
    pan_outputs: Pick | None,
    pan_classes: object,
) -> Audit:
    """The Audit of pan_model on pan_images, made once however many tests ask for it."""
    return pan(
        pan_model,
        pan_images,
        transform=pan_transform,
        outputs=pan_outputs,
        classes=pan_classes,
    )


@pytest.fixture(scope="session")
def pan(pytestconfig: pytest.Config) -> Factory:
    """The factory: pan(model, images, **settings) gives an Audit, for more than one model."""
    ledger = pytestconfig.stash.get(_LEDGER, None)
    if ledger is None:
        pytest.skip(OFF)

    def factory(model: object, images: object, **given: Any) -> Audit:
        audit, failure = None, ""
        try:
            with _progress(pytestconfig) as tick:
                audit = ledger.audit(model, images, given, tick)
        except PanError as error:
            failure = str(error)
        if audit is None:  # outside the except block, so that the message stands once and alone
            _fail(failure)
        from pytest_pan.notes import warn

        warn(audit)
        return audit

    return factory


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    ledger = item.config.stash.get(_LEDGER, None)
    limits = options.limits(item) if ledger is not None else ()
    if ledger is None or not limits:
        return (yield)
    audit: Audit | None = getattr(item, "funcargs", {}).get("pan_audit")
    if audit is None:
        _fail("marker pan was added after collection: let the test take the fixture pan_audit")
    verdicts = ledger.judge(audit, limits)
    item.user_properties += [(verdict.limit.measure, verdict.value) for verdict in verdicts]
    yield
    failed = [verdict for verdict in verdicts if verdict.outcome == "fail"]
    if failed:
        item.stash[_BEYOND] = True
        links = [f"{path}" for kind, path in item.config.stash[_REPORTS] if kind == "html"]
        report = links[0] if links else ""
        _fail("\n".join(explain(audit, verdict, report=report) for verdict in failed))


def _fail(message: str) -> NoReturn:
    pytest.fail(message, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    ledger = item.config.stash.get(_LEDGER, None)
    if ledger is not None:
        report.pan = ledger.send()  # type: ignore[attr-defined]
        report.pan_asks = _ASKS in item.stash  # type: ignore[attr-defined]
        report.pan_beyond = _BEYOND in item.stash  # type: ignore[attr-defined]
    return report
