"""States that add up: exact while they fit, bounded beyond, the same whenever that is found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from nets import bright_images, fifteen_types
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pytest_pan import Audit, audit
from pytest_pan.probes.activations import pilots
from pytest_pan.records.neurons import SIDES, Neuron

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

IMAGES = torch.rand(420, 1, 12, 12, generator=torch.Generator().manual_seed(0))
"""Of 48 border values each: edges come from the first 171 and more, of this pilot."""


@pytest.fixture(scope="module", autouse=True)
def a_small_pilot() -> Iterator[None]:
    """So that a few hundred images are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pilots, "PILOT", 8192)
        yield


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1))


@pytest.fixture(scope="module")
def exact() -> Audit:
    return audit(network(), IMAGES, theta=0.1)


@pytest.fixture(scope="module")
def bounded() -> Audit:
    return audit(network(), IMAGES, theta=0.1, memory=1)


def by_channel(found: Audit) -> dict[tuple[str, int], Neuron]:
    return {(neuron.site, neuron.channel): neuron for neuron in found.neurons}


def test_bounded_statistics_are_the_exact_ones_within_their_error(
    exact: Audit, bounded: Audit
) -> None:
    ours, theirs = by_channel(bounded), by_channel(exact)
    shared = set(ours) & set(theirs)
    assert len(shared) > 5
    for key in shared:
        mine = ours[key]
        assert 0 < mine.error <= 1 / 512
        for name in ("ks", "ks_plus", "ks_minus"):
            for side in SIDES:
                apart = abs(getattr(mine, name)[side] - getattr(theirs[key], name)[side])
                assert apart <= mine.error + 1e-12
    assert {neuron.error for neuron in exact.neurons} == {0}


def test_only_decisions_that_are_said_to_be_open_can_differ(exact: Audit, bounded: Audit) -> None:
    ours, theirs = by_channel(bounded), by_channel(exact)
    for key in set(ours) | set(theirs):
        mine = ours.get(key)
        if mine is not None and not mine.undecided:
            assert mine.type == theirs[key].type
    for name in ("pan_count", "pan_fraction", "layer_pan_fraction", "edge_detector_count"):
        ends = bounded.measures[name].bounds
        assert ends is not None
        assert ends[0] <= exact.measures[name].value <= ends[1]
        assert exact.measures[name].bounds is None
    assert any("counted between fixed edges" in note for note in bounded.notes)


class Sizeless(DataLoader[Any]):
    """A loader that does not tell how much is to come."""

    def __len__(self) -> int:
        raise TypeError

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from IMAGES.split(32)


@pytest.mark.parametrize("memory", [1, 200_000, 2_000_000])
def test_when_the_memory_runs_out_does_not_change_the_figures(bounded: Audit, memory: int) -> None:
    """The maps weigh 4.8 MB; a loader without length finds out on the way."""
    loader = Sizeless(TensorDataset(IMAGES), batch_sampler=[[0]])
    late = audit(network(), loader, theta=0.1, memory=memory)
    assert late.neurons == bounded.neurons
    assert late.measures == bounded.measures


def test_the_portraits_count_every_value_and_show_the_same_depth(
    exact: Audit, bounded: Audit
) -> None:
    ours, theirs = by_channel(bounded), by_channel(exact)
    for key in set(ours) & set(theirs):
        mine, exactly = ours[key], theirs[key]
        assert mine.histogram is not None
        assert exactly.histogram is not None
        for region, counts in exactly.histogram.counts.items():
            assert sum(mine.histogram.counts[region]) == sum(counts)
        for side in SIDES:
            for ring, other in zip(mine.profile[side], exactly.profile[side], strict=True):
                assert ring == pytest.approx(other, abs=1 / 32)


def test_planted_types_are_found_from_counts_too() -> None:
    found = audit(fifteen_types(), bright_images(count=400), memory=1)
    assert [str(neuron.type) for neuron in found.neurons] == list(found.type_counts)
    assert not any(neuron.undecided for neuron in found.neurons)


def test_values_that_are_not_finite_are_named_also_when_they_come_late() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen = network(), 0

        def forward(self, images: Tensor) -> Any:
            self.seen += len(images)
            return self.net(images if self.seen < 400 else images * torch.inf)

    with pytest.raises(Exception, match=r"no padded conv.*not finite in 12 of 12"):
        audit(Late(), IMAGES, memory=1)


def test_influence_from_counts_is_the_influence(exact: Audit) -> None:
    """The floor and the origins are counted as well; what happens to the outputs is exact."""
    model = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    probes = ("pans", "influence")
    whole = audit(model, IMAGES, theta=0.1, probes=probes)
    parts = audit(model, IMAGES, theta=0.1, probes=probes, memory=1)
    named = {key: n for key, n in by_channel(parts).items() if not n.undecided}
    assert named
    for key, neuron in named.items():
        assert by_channel(whole)[key].type == neuron.type
    floors = [found.measures["pan_floor"].value for found in (whole, parts)]
    assert floors[0] == pytest.approx(floors[1], abs=0.1)


SIZES: list[int] = []
"""Images of the forward passes that went through; beyond the model, which is put back."""


class Narrow(nn.Module):
    """A device that has no memory for more than four images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, images: Tensor) -> Any:
        first = self.net[0](images)
        if len(images) > 4:
            raise torch.OutOfMemoryError("no memory")
        SIZES.append(len(images))
        return self.net[2](self.net[1](first)).mean((2, 3))


def test_a_batch_too_large_for_the_device_is_halved_and_counted_once() -> None:
    SIZES.clear()
    found = audit(Narrow(), IMAGES[:60], theta=0.1, batch_size=24, probes=("pans", "influence"))
    plain = audit(network(), IMAGES[:60], theta=0.1, batch_size=3)
    assert [(n.site, n.channel, n.ks) for n in found.neurons] == [
        (f"net.{n.site}", n.channel, n.ks) for n in plain.neurons
    ]
    assert max(SIZES) == 3
    assert found.influence[0].images == 60
    assert any("the batch size was reduced to 3" in note for note in found.notes)


def test_one_image_too_many_is_the_devices_own_error() -> None:
    class Full(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, images: Tensor) -> Any:
            raise torch.OutOfMemoryError("no memory at all")

    with pytest.raises(Exception, match=r"raised OutOfMemoryError.*no memory at all"):
        audit(Full(), IMAGES[:60])


@pytest.mark.parametrize("call", [3, 6, 14])
def test_an_outcome_that_finds_no_memory_leaves_nothing_counted_twice(call: int) -> None:
    """Whenever the reading of an output runs out of memory, the retry counts anew."""
    model = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    calls = iter(range(1, 1000))

    def pick(output: Tensor) -> Tensor:
        if next(calls) == call:
            raise torch.OutOfMemoryError("no memory")
        return output

    settings = {"theta": 0.1, "batch_size": 20, "probes": ("pans", "influence")}
    whole = audit(model, IMAGES[:60], **settings)
    found = audit(model, IMAGES[:60], outputs=pick, **settings)
    assert found.neurons == whole.neurons
    assert found.measures["pan_floor"] == whole.measures["pan_floor"]
    assert found.influence[0].images == 60
    assert any("the batch size was reduced to 10" in note for note in found.notes)


def test_a_layer_that_runs_on_no_row_of_a_batch_is_counted_as_it_is_kept() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.other = network(), nn.Conv2d(1, 4, 3, padding=1)

        def forward(self, images: Tensor) -> Any:
            self.other(images[images[:, 0, 0, 0] > 0.5])
            self.other.bias  # noqa: B018
            return self.net(images)

    images = IMAGES.clone()
    images[:32, 0, 0, 0] = 0
    kept, counted = (audit(Sometimes(), images, theta=0.1, memory=m) for m in (1 << 30, 1))
    assert {site.name for site in kept.sites} == {site.name for site in counted.sites}
    assert "other" in {site.name for site in kept.sites}


def test_first_images_unlike_the_rest_are_said_to_widen_the_error() -> None:
    bright = IMAGES + 10 * torch.arange(len(IMAGES))[:, None, None, None] / len(IMAGES)
    found = audit(network(), bright, theta=0.1, memory=1)
    assert any("the first images are not representative" in note for note in found.notes)
