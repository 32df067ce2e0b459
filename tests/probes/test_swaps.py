"""Which channels the plans swap."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from nets import bright_images, conv, fifteen_types, missing
from torch import nn

from pytest_pan import Audit, audit
from pytest_pan.probes.swaps import plans
from pytest_pan.records.plans import Plan

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def own_pixel(count: int, inputs: int = 1) -> torch.Tensor:
    """Filters (count, inputs, 3, 3) that see one pixel of one input, and so no padding."""
    kernels = torch.zeros(count, inputs, 3, 3)
    for channel in range(count):
        kernels[channel, channel % inputs, 1, 1] = 1 + channel / 8
    return kernels


@pytest.fixture(scope="module")
def found() -> Audit:
    """Layer 0 has 2 PANs of 12, layer 2 has 15 of 15, layer 4 none of 6."""
    first = conv(torch.cat([missing("T")[None], own_pixel(10), missing("R")[None]]))
    with pytest.warns(match="images"):
        return audit(
            nn.Sequential(
                first,
                nn.Conv2d(12, 1, 1),
                fifteen_types(),
                nn.Conv2d(15, 1, 1),
                conv(own_pixel(6)),
            ).apply(own_first),
            bright_images(),
        )


def own_first(module: nn.Module) -> None:
    """A 1x1 convolution becomes one that passes on channel 1, which sees no padding."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
        with torch.no_grad():
            module.weight.zero_()
            module.weight[0, 1 if module.in_channels == 12 else 0] = 1
            module.bias.zero_()


def drawn(found: Audit, **changes: int) -> list[Plan]:
    settings = {"draws": 4, "seed": 0} | changes
    return list(plans(found.sites, found.neurons, mode="reflect", **settings))


def sizes(chosen: Sequence[Plan]) -> list[dict[str, int]]:
    return [{site: len(channels) for site, channels in plan.channels.items()} for plan in chosen]


def test_the_plans_are_the_pans_the_draws_and_everything(found: Audit) -> None:
    names = [(plan.name, plan.seed) for plan in drawn(found, draws=2, seed=5)]
    random = [("RAND-reflect", 5), ("RAND-reflect", 6)]
    assert names == [("PAN-reflect", None), *random, ("reflect", None)]
    pan, *_, whole = drawn(found)
    assert pan.channels["0"] == (0, 11)
    assert whole.channels is whole.size is None


def test_a_draw_has_as_many_others_in_each_layer_as_there_are_pans(found: Audit) -> None:
    pan, *draws, _ = drawn(found)
    for plan in draws:
        assert len(plan.channels["0"]) == len(set(plan.channels["0"])) == 2
        assert set(plan.channels["0"]) <= set(range(12)) - {0, 11}
        assert set(plan.channels) == set(pan.channels) == {n.site for n in found.neurons}


def test_where_a_layer_has_too_few_others_all_of_them_are_drawn(found: Audit) -> None:
    pan, *draws, _ = drawn(found)
    others = found.sites[1].channels - sizes([pan])[0]["2"]
    assert [size["2"] for size in sizes(draws)] == [others] * 4


def test_draws_differ_from_each_other_and_are_the_same_again_for_the_same_seed(
    found: Audit,
) -> None:
    draws = drawn(found, draws=20)[1:-1]
    assert len({plan.channels["0"] for plan in draws}) > 10
    assert drawn(found) == drawn(found)
    assert drawn(found, seed=1)[1].channels == drawn(found)[2].channels


def test_each_other_neuron_is_drawn_as_often_as_the_rest(found: Audit) -> None:
    """2 of 10 in each of 100 draws: 20 times each, give or take four deviations."""
    draws = drawn(found, draws=100)[1:-1]
    counts = [sum(c in plan.channels["0"] for plan in draws) for c in range(12)]
    assert counts[0] == counts[11] == 0
    assert all(4 <= count <= 36 for count in counts[1:11])


def test_without_pans_nothing_is_swapped_and_nothing_moves() -> None:
    model = nn.Sequential(conv(own_pixel(4)), nn.Flatten(), nn.Linear(4 * 256, 3))
    found = audit(model, bright_images(60), probes=("pans", "influence"), draws=2)
    assert found.pan_count == 0
    pan, *draws, _ = found.influence
    assert [plan.plan.size for plan in (pan, *draws)] == [0, 0, 0]
    for plan in (pan, *draws):
        assert (set(plan.log_odds), plan.prediction_flips, plan.sample_influence) == ({0.0}, 0, 0)
    assert found.measures["nascent_fraction"].value == 0
