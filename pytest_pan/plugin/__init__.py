"""Entry point of the pytest plugin: options, fixtures, and the hooks that every run needs.

Every pytest run with the plugin installed imports this module, so it imports almost nothing. The
other hooks are in ``hooks``, which is registered if an option, a declared model or a test needs an
audit.
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
_USAGE_ERROR = pytest.StashKey[str]()
"""Message of an xdist worker's usage error, in the controller."""


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", options.MARKER)
    if options.concerns_audits(config):
        from pytest_pan.plugin import hooks

        hooks.configure(config)
        config.pluginmanager.register(hooks, _HOOKS)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    is_loaded = config.pluginmanager.has_plugin(_HOOKS)
    if not is_loaded and not any(_needs_audit(item) for item in items):
        return
    from pytest_pan.plugin import hooks

    if not is_loaded:
        config.pluginmanager.register(hooks, _HOOKS)
    hooks.prepare(config, items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Record a worker's usage error, in a run whose controller has not loaded ``hooks``."""
    message = getattr(node, "workeroutput", {}).get(options.USAGE_ERROR)
    if message and not node.config.pluginmanager.has_plugin(_HOOKS):
        node.config.stash[_USAGE_ERROR] = message


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _USAGE_ERROR in session.config.stash:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _USAGE_ERROR in config.stash:
        terminalreporter.write_line(f"ERROR: {config.stash[_USAGE_ERROR]}", red=True)


def _needs_audit(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("pan") is not None or not options.FIXTURES.isdisjoint(fixtures)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Add the fixture pan_audit to a function marked pan before its parameters are collected.

    Then a parametrised pan_model or pan_images parametrises the function.
    """
    if not isinstance(obj, FunctionType) or not collector.istestfunction(obj, name):  # type: ignore[attr-defined]
        return
    marks: list[pytest.Mark] = getattr(obj, "pytestmark", [])
    if any(mark.name == "usefixtures" and "pan_audit" in mark.args for mark in marks):
        return
    if any(mark.name == "pan" for mark in marks) or collector.get_closest_marker("pan"):
        pytest.mark.usefixtures("pan_audit")(obj)


@pytest.fixture(scope="session")
def pan_model() -> object:
    """The model to audit, an nn.Module or "module:callable"; override it in conftest.py."""
    pytest.fail(
        "pytest-pan has no model: define a fixture pan_model in conftest.py that returns a "
        'torch.nn.Module or "module:callable"',
        pytrace=False,
    )


@pytest.fixture(scope="session")
def pan_images() -> object:
    """The images to audit on, a folder, tensor, Dataset or DataLoader; override it."""
    pytest.fail(
        "pytest-pan has no images: define a fixture pan_images in conftest.py that returns a "
        "folder, a tensor (N, C, H, W), a Dataset or a DataLoader with images like the model's "
        "training data, 160 or more if possible",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def pan_transform() -> Transform | None:
    """Transform of the images of a folder or Dataset; override it in conftest.py."""
    return None


@pytest.fixture(scope="session")
def pan_outputs() -> Pick | None:
    """Function that selects logits, embeddings or detections from the output; override it."""
    return None


@pytest.fixture(scope="session")
def pan_classes() -> object:
    """Class names, a sequence or torchvision weights; override it in conftest.py."""
    return None


@pytest.fixture(scope="session")
def pan_groups() -> object:
    """Groups of dependent images, such as crops of one photograph; override it in conftest.py.

    A label per image, or a regular expression for the file names of a folder.
    """
    return None


@pytest.fixture(scope="session")
def pan_large_images() -> object:
    """Images larger than the network's input, for the probes that need them; override it.

    A tensor (N, C, H, W), a Dataset or a DataLoader, normalised as the network's input is.
    """
    return None


@pytest.fixture(scope="session")
def pan_name() -> str:
    """Name of pan_model's audit in reports and baselines; override it in conftest.py."""
    return ""


@pytest.fixture
def pan_audit(
    pan: Factory,
    pan_model: object,
    pan_images: object,
    pan_transform: Transform | None,
    pan_outputs: Pick | None,
    pan_classes: object,
    pan_groups: object,
    pan_large_images: object,
    pan_name: str,
) -> Audit:
    """Audit of pan_model on pan_images, shared by all tests that use it."""
    return pan(
        pan_model,
        pan_images,
        transform=pan_transform,
        outputs=pan_outputs,
        classes=pan_classes,
        groups=pan_groups,
        large_images=pan_large_images,
        name=pan_name,
    )


@pytest.fixture(scope="session")
def pan(pytestconfig: pytest.Config) -> Factory:
    """Factory of audits: pan(model, images, **settings) returns an Audit."""
    from pytest_pan.plugin import requests

    return requests.factory(pytestconfig)
