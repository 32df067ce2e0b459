"""Sites whose output does not depend on the images are found by the values of their maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_pan.instrument.processes import ALONE
from pytest_pan.instrument.sites import ONE_MAP, leaves_figures_incomplete
from pytest_pan.probes.activations.dependence import INDEPENDENT, Dependence

IMAGES = torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
MAP = torch.rand(1, 2, 5, 5)


def of(batches: list[Tensor], images: list[Tensor], site: str = "c") -> Dependence:
    found = Dependence()
    for maps, batch in zip(batches, images, strict=True):
        found.see_images(batch)
        found.add(site, maps, len(batch))
    return found


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([MAP.expand(3, -1, -1, -1)] * 2, {"c": INDEPENDENT}),
        ([MAP, MAP], {"c": INDEPENDENT}),
        ([MAP.expand(3, -1, -1, -1), torch.cat([MAP, MAP, MAP + 1])], {}),
        ([torch.rand(3, 2, 5, 5)] * 2, {}),
        ([torch.rand(1, 2, 5, 5), torch.rand(1, 2, 5, 5)], {"c": ONE_MAP}),
        ([torch.rand(1, 2, 5, 5), torch.rand(2, 2, 5, 5)], {}),
        ([torch.full((3, 2, 5, 5), torch.nan)] * 2, {}),
    ],
    ids=[
        "equal",
        "one map for three images",
        "the last differs",
        "differ",
        "one map, others later",
        "some images only",
        "not a number",
    ],
)
def test_equal_maps_or_one_map_for_several_images(
    maps: list[Tensor], expected: dict[str, str]
) -> None:
    assert of(maps, [*IMAGES.split(3)]).reasons(ALONE) == expected


def test_one_image_at_a_time_is_told_by_values_alone() -> None:
    """A layer may run on some of the images only, with one map each."""
    images = [*IMAGES.split(1)][:2]
    assert of([MAP, MAP], images).reasons(ALONE) == {"c": INDEPENDENT}
    assert of([MAP, MAP + 1], images).reasons(ALONE) == {}
    assert of([MAP], images[:1]).reasons(ALONE) == {}


def test_images_that_enter_one_by_one_are_no_constants_and_limits_do_not_pass() -> None:
    found = Dependence()
    found.see_images(IMAGES[:3])
    for call in ("c", "c#2", "c#3"):
        found.add(call, torch.rand(1, 2, 5, 5), 3)
    found.add("position", MAP, 3)
    one = dict.fromkeys(("c", "c#2", "c#3"), ONE_MAP)
    assert found.reasons(ALONE) == {**one, "position": INDEPENDENT}
    assert leaves_figures_incomplete(ONE_MAP)
    assert not leaves_figures_incomplete(INDEPENDENT)


def test_where_the_images_are_equal_nothing_can_be_told() -> None:
    same = [IMAGES[:1].expand(3, -1, -1, -1)] * 2
    assert of([MAP.expand(3, -1, -1, -1)] * 2, same).reasons(ALONE) == {}


@dataclass
class Met:
    """Processes that have met already."""

    others: list[Any] = field(default_factory=list)

    def meet(self, point: str, thing: Any) -> list[Any]:
        self.others.append(thing)
        return self.others


def test_processes_compare_their_maps() -> None:
    """Equal within each of two processes, and equal or not between them."""
    for change, expected in ((0, {"c": INDEPENDENT}), (1, {})):
        met: Any = Met()
        of([MAP.expand(3, -1, -1, -1)], [IMAGES[:3]]).reasons(met)
        other = of([MAP.expand(3, -1, -1, -1) + change], [IMAGES[3:]])
        assert other.reasons(met) == expected
