"""Several processes without processes: shards of the images that meet in this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_pan.inputs.images import Images
from pytest_pan.instrument.processes import Processes

Share = Callable[[list[Images]], Images]


@dataclass(frozen=True)
class Met(Processes):
    """Processes that meet with what they hold from the start."""

    met: tuple[Any, ...] = ()

    def meet(self, point: str, thing: Any, *, error: str = "") -> list[Any]:
        return list(self.met)


@pytest.fixture
def share() -> Share:
    """Let shards meet; gives the first one, which then knows what all have read."""

    def meet(shards: list[Images]) -> Images:
        shards[0].share(Met(met=tuple(shard._seen for shard in shards)))
        return shards[0]

    return meet
