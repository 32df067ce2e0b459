"""Which tests had an audit: those that asked for one, and those whose fixtures asked before."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_pan.plugin import requests as asking


class Served:
    """The hooks that follow fixtures which asked for an audit and outlive the test that first
    needed them: all tests that use them had it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._seen = config.stash.setdefault(asking.SEEN, [])
        self._living: dict[pytest.FixtureDef[Any], pytest.Item | pytest.Collector] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        __tracebackhide__ = True  # where a fixture fails, pytest shows who called it
        before = len(self._seen)
        value = yield
        if len(self._seen) > before and fixturedef.scope != "function":
            self._living[fixturedef] = request.node
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._living.pop(fixturedef, None)

    def had(self, item: pytest.Item) -> bool:
        """Whether the running test had an audit."""
        if self._seen:
            return True
        names, chain = getattr(item, "fixturenames", ()), item.listchain()
        return any(
            fixture.argname in names and node in chain for fixture, node in self._living.items()
        )


SERVED = pytest.StashKey[Served]()
