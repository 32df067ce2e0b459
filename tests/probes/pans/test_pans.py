"""Detection on planted networks: what a neuron is, is known by construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nets import bright_images, conv, fifteen_types, missing, second_row, striped_images
from reference import examine
from torch import Tensor, nn

from pytest_pan import Audit, audit
from pytest_pan.records.neurons import PAN_TYPES

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def types(found: Audit) -> dict[int, str]:
    return {neuron.channel: str(neuron.type) for neuron in found.neurons}


def test_each_of_the_fifteen_planted_types_is_found_as_that_and_nothing_else() -> None:
    found = audit(fifteen_types(), bright_images())
    assert types(found) == dict(enumerate(PAN_TYPES))
    assert found.type_counts == dict.fromkeys(PAN_TYPES, 1)
    assert found.pan_fraction == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_border_above_the_centre_shows_in_plus_and_one_below_in_minus(sign: int) -> None:
    (neuron,) = audit(conv(sign * missing("L")[None]), bright_images()).neurons
    beyond, other = (neuron.ks_plus, neuron.ks_minus)[::sign]
    assert (neuron.ks["L"], beyond["L"], other["L"]) == (1, 1, 0)


def test_where_the_image_has_edges_like_the_padding_an_edge_detector_is_no_pan() -> None:
    found = audit(fifteen_types(), striped_images())
    assert not found.neurons
    assert found.measures["edge_detector_count"].value > 0


def test_a_filter_that_sees_only_its_own_pixel_is_neither() -> None:
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 1, 1] = 1
    found = audit(conv(kernel), bright_images(count=60))
    assert found.pan_count == found.measures["edge_detector_count"].value == 0


def test_the_second_row_neuron_is_an_edge_detector_but_no_pan() -> None:
    """The paper's Figure 8; the first layer's neuron is a plain T."""
    found = audit(second_row(), bright_images())
    assert [(neuron.site, str(neuron.type)) for neuron in found.neurons] == [("0", "T")]
    assert found.measures["edge_detector_count"].sites == {"0": 1, "1": 1}


def test_the_distance_profile_shows_how_deep_the_border_is_felt() -> None:
    """A 7x7 filter that sums all above it reaches the padding from three rows."""
    kernel = torch.zeros(1, 1, 7, 7)
    kernel[0, 0, :3, 3] = -1
    (neuron,) = audit(conv(kernel, padding=3), bright_images(size=32)).neurons
    profile = neuron.profile["T"]
    assert profile[0] == (neuron.ks["T"], neuron.ks_plus["T"], neuron.ks_minus["T"])
    assert [ring[0] > 0.8 for ring in profile] == [True, True, True, False]
    assert all(ring[0] < 0.3 for ring in neuron.profile["B"])


def integer_network(seed: int = 0) -> tuple[nn.Conv2d, Tensor]:
    """Small integers all through, so that sums are exact in any order."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-3, 4, (24, 2, 3, 3), generator=generator).float()
    images = torch.randint(1, 9, (5, 2, 12, 12), generator=generator).float()
    return conv(weight), images


def tables(model: nn.Module, images: Tensor, theta: float = 0.2) -> list[Any]:
    found = audit(model, images, theta=theta).neurons
    return [(n.channel, str(n.type), n.ks, n.ks_plus, n.ks_minus) for n in found]


@pytest.mark.parametrize(("axis", "swap"), [(3, {"L": "R", "R": "L"}), (2, {"T": "B", "B": "T"})])
def test_flipping_images_and_kernels_swaps_the_sides(axis: int, swap: dict[str, str]) -> None:
    model, images = integer_network()
    flipped = tables(conv(model.weight.detach().flip(axis)), images.flip(axis))

    def swapped(values: dict[str, float]) -> dict[str, float]:
        return {side: values[swap.get(side, side)] for side in "TBLR"}

    assert flipped
    back = [
        (channel, {swap.get(s, s) for s in kind}, *map(swapped, statistics))
        for channel, kind, *statistics in flipped
    ]
    there = [(channel, set(kind), *s) for channel, kind, *s in tables(model, images)]
    assert back == there


def test_scaling_and_shifting_the_activations_changes_nothing() -> None:
    model, images = integer_network()
    moved = conv(4 * model.weight.detach(), bias=True)
    with torch.no_grad():
        moved.bias.fill_(37)
    assert tables(moved, images) == tables(model, images)


def test_negating_the_activations_swaps_plus_and_minus() -> None:
    model, images = integer_network()
    there = [(c, k, ks, minus, plus) for c, k, ks, plus, minus in tables(model, images)]
    assert tables(conv(-model.weight.detach()), images) == there


@pytest.mark.parametrize("theta", [0.3, 0.5, 0.7])
def test_types_and_statistics_are_the_scipy_loops(theta: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.ReLU(inplace=True))
    images = bright_images(count=8, size=28)
    with torch.no_grad():
        maps = model[0](images).double().numpy()
    found = audit(model, images, theta=theta)
    expected = {c: kind for c in range(32) if (kind := examine(maps, c, theta)[0])}
    assert expected
    assert types(found) == expected
    for neuron in found.neurons:
        for side, theirs in examine(maps, neuron.channel)[1].items():
            ours = (neuron.ks[side], neuron.ks_plus[side], neuron.ks_minus[side])
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    """Integers, since another batch size may sum in another order."""
    model, images = integer_network()
    whole = audit(model, images, theta=0.2, batch_size=3)
    parts = audit(model, images, theta=0.2, batch_size=batch_size)
    assert parts.neurons == whole.neurons
    assert parts.images == {**whole.images, "batches": parts.images["batches"]}


def test_the_order_of_the_images_changes_nothing() -> None:
    model, images = integer_network()
    assert tables(model, images.flip(0)) == tables(model, images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: this path has not run")
def test_the_gpu_finds_what_the_cpu_finds_and_the_model_stays_where_it_was() -> None:
    model, images = integer_network()
    there = audit(model, images, theta=0.2, device="cuda")
    here = audit(model, images, theta=0.2, device="cpu")
    assert there.neurons == here.neurons
    assert there.neurons
    assert model.weight.device.type == "cpu"
    assert there.environment["device"].startswith("cuda:0 (")


def test_histograms_count_every_activation_of_their_region() -> None:
    (neuron,) = audit(conv(missing("T")[None]), bright_images(count=6, size=16)).neurons
    assert neuron.histogram is not None
    totals = {region: sum(counts) for region, counts in neuron.histogram.counts.items()}
    borders = dict.fromkeys("TBLR", 6 * 16)
    assert totals == borders | {"centre": 6 * 14 * 14, "centre_high": 96, "centre_low": 96}
    assert neuron.histogram.counts["T"][-1] == 6 * 16  # all zeros, the largest value there is
    assert -1.2 <= neuron.histogram.low < neuron.histogram.high == 0


def test_a_layer_with_nan_is_skipped_with_the_channel_and_the_rest_examined() -> None:
    model = nn.Sequential(fifteen_types(), nn.Conv2d(15, 4, 3, padding=1))
    with torch.no_grad():
        model[1].bias[2] = float("inf")
    found = audit(model, bright_images())
    assert [site.name for site in found.sites] == ["0"]
    (skip,) = found.skips
    assert skip.what == "1"
    assert "1 of 4 channels, first in 2" in skip.why


@pytest.mark.parametrize(("size", "examined"), [(3, False), (4, True)])
def test_a_map_is_examined_when_its_centre_is_no_smaller_than_a_border(
    size: int, examined: bool
) -> None:
    """4x4 has a centre of 4 for borders of 4; 3x3 has 1 for 3."""
    model = nn.Sequential(
        fifteen_types(), nn.AdaptiveAvgPool2d(size), nn.Conv2d(15, 2, 3, padding=1)
    )
    found = audit(model, bright_images())
    assert ("2" in {site.name for site in found.sites}) == examined
    if not examined:
        assert [(s.what, "3x3 too small" in s.why) for s in found.skips] == [("2", True)]


def test_small_maps_are_marked_and_said() -> None:
    found = audit(fifteen_types(), bright_images(size=7))
    assert [site.reliability for site in found.sites] == ["low"]
    assert any("7x7" in note for note in found.notes)
    assert audit(fifteen_types(), bright_images(size=8)).sites[0].reliability == "normal"


def test_measures_are_counts_over_counts() -> None:
    two_of_four = conv(torch.stack([missing("T"), missing("R"), *[torch.ones(1, 3, 3) * 0] * 2]))
    found = audit(nn.Sequential(fifteen_types(), nn.Conv2d(15, 1, 1), two_of_four), bright_images())
    assert found.neuron_count == 19
    first = found.measures["pan_fraction"].sites["0"]
    assert first == 1
    assert found.pan_fraction == found.pan_count / 19
    assert found.measures["layer_pan_fraction"].value == 1
    assert [skip.why for skip in found.skips] == ["1x1 kernel"]
