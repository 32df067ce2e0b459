"""Default names of audits of parametrised models and images: ``Net[resnet18]``."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

import pytest

_OPTIONS = {
    "pan_transform": "transform",
    "pan_outputs": "outputs",
    "pan_classes": "classes",
    "pan_groups": "groups",
    "pan_large_images": "large_images",
}
"""Fixtures of an audit's inputs beside model and images, and the options they are given as."""


class ParameterNames:
    """Plugin that names an audit after the parameters that its inputs are, or that the fixtures
    they come from take.
    """

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        """Current values of the fixtures of an audit's inputs."""
        self._arguments: dict[str, set[str]] = {}
        """Fixtures that each fixture takes."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True  # pytest shows the callers of a fixture that fails
        name = fixturedef.argname
        self._arguments.setdefault(name, set()).update(fixturedef.argnames)
        value = yield
        if name in ("pan_model", "pan_images", *_OPTIONS):
            self._values[name] = value
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._values.pop(fixturedef.argname, None)

    def default_name(
        self, item: pytest.Item, model: object, images: object, options: Mapping[str, Any]
    ) -> str:
        """Return ``Net[resnet18]``; empty, for the engine's default, without parameters."""
        from pytest_pan.inputs.models import name_of

        callspec = getattr(item, "callspec", None)
        if callspec is None:
            return ""
        inputs = {"pan_model": model, "pan_images": images}
        inputs |= {name: options.get(option) for name, option in _OPTIONS.items()}
        fixtures = [
            name
            for name, value in inputs.items()
            if value is not None and self._values.get(name) is value
        ]
        given = {id(value) for value in inputs.values() if value is not None}
        direct = [name for name, value in callspec.params.items() if id(value) in given]
        wanted = self._closure([*fixtures, *direct])
        ids = _ids(item, callspec, wanted) if wanted & set(callspec.params) else ""
        return f"{name_of(model, model)}[{ids}]" if ids else ""  # type: ignore[arg-type]

    def _closure(self, names: Iterable[str]) -> set[str]:
        """Return the fixtures and all that they depend on."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._arguments.get(name, ())
        return found


def _ids(item: pytest.Item, callspec: Any, wanted: set[str]) -> str:
    """Return the ids of the wanted parameters, as in the test's id.

    Returns the whole id if it cannot be split, because an id contains a hyphen.
    """
    together = [_names(mark) for mark in item.iter_markers("parametrize")]
    groups = dict.fromkeys(
        next((names for names in together if parameter in names), (parameter,))
        for parameter in callspec.params
    )
    is_wanted = [bool(wanted.intersection(group)) for group in groups]
    parts = callspec.id.split("-")
    if all(is_wanted) or len(parts) != len(groups):
        return str(callspec.id)
    return "-".join(part for part, use in zip(parts, is_wanted, strict=True) if use)


def _names(mark: pytest.Mark) -> tuple[str, ...]:
    """Return the parameters of a ``parametrize`` marker."""
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    found = names.split(",") if isinstance(names, str) else names
    return tuple(str(name).strip() for name in found)


NAMES = pytest.StashKey[ParameterNames]()
