"""pytest's side: options, fixtures, and the hooks where a run has to do with audits.

Every run of pytest where this is installed loads it, so it imports next to nothing: all else is
in ``hooks``, which comes in with the first option, declared model or test that asks for an audit.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_pan.plugin import options

if TYPE_CHECKING:
    from pytest_pan.inputs.folders import Transform
    from pytest_pan.plugin.requests import Factory
    from pytest_pan.probes.outputs import Pick
    from pytest_pan.records.audit import Audit

_HOOKS = "pan-hooks"
_WRONG = pytest.StashKey[str]()
"""What a worker found wrong, in the process of xdist's controller."""


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", options.MARKER)
    if options.given(config):
        from pytest_pan.plugin import hooks

        hooks.configure(config)
        config.pluginmanager.register(hooks, _HOOKS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    loaded = config.pluginmanager.has_plugin(_HOOKS)
    if not loaded and not any(_asks(item) for item in items):
        return
    from pytest_pan.plugin import hooks

    if not loaded:
        config.pluginmanager.register(hooks, _HOOKS)
    hooks.prepare(config, items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hears of a wrong configuration that only a worker has met, in a run that does not audit."""
    message = getattr(node, "workeroutput", {}).get(options.USAGE)
    if message and not node.config.pluginmanager.has_plugin(_HOOKS):
        node.config.stash[_WRONG] = message


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _WRONG in session.config.stash:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _WRONG in config.stash:
        terminalreporter.write_line(f"ERROR: {config.stash[_WRONG]}", red=True)


def _asks(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("pan") is not None or not options.FIXTURES.isdisjoint(fixtures)


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


@pytest.fixture(scope="session")
def pan_name() -> str:
    """What the audit of pan_model is called, in reports and as a baseline: override it."""
    return ""


@pytest.fixture
def pan_audit(
    pan: Factory,
    pan_model: object,
    pan_images: object,
    pan_transform: Transform | None,
    pan_outputs: Pick | None,
    pan_classes: object,
    pan_name: str,
) -> Audit:
    """The Audit of pan_model on pan_images, made once however many tests ask for it."""
    return pan(
        pan_model,
        pan_images,
        transform=pan_transform,
        outputs=pan_outputs,
        classes=pan_classes,
        name=pan_name,
    )


@pytest.fixture(scope="session")
def pan(pytestconfig: pytest.Config) -> Factory:
    """The factory: pan(model, images, **settings) gives an Audit, for more than one model."""
    from pytest_pan.plugin import requests as asking

    return asking.factory(pytestconfig)
