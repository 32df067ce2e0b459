"""Convergence, stability and intervals of the PANs, against audits of the subsamples themselves."""

from __future__ import annotations

import pytest
import torch
from nets import bright_images, conv, fifteen_types, striped_images
from torch import Tensor, nn

from pytest_pan import Audit, audit
from pytest_pan.probes.pans import subsampling as stability
from pytest_pan.probes.table import read_audit
from pytest_pan.stats import subsamples

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def mixed_images(count: int = 40, striped: int = 3) -> Tensor:
    """Images of which a few have edges like the padding's: which of them are there decides."""
    return torch.cat([bright_images(count - striped, 12), striped_images(striped, 12)])


def random_network() -> nn.Sequential:
    torch.manual_seed(5)
    first, second = (conv(torch.randn(12, c, 3, 3), bias=False) for c in (1, 12))
    return nn.Sequential(first, nn.ReLU(), second)


def subsample(images: Tensor, groups: tuple[int, ...], seed: int) -> Tensor:
    dealt = subsamples.group_of(torch.arange(len(images)), seed)
    return images[torch.isin(dealt, torch.tensor(groups))]


def pans(found: Audit) -> set[tuple[str, int]]:
    return {(neuron.site, neuron.channel) for neuron in found.neurons}


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_overlaps_and_stability_are_those_of_audits_of_the_subsamples(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stability, "MARGIN_FACTOR", 9.0)  # every neuron is a candidate
    network, images = random_network(), mixed_images(64, 5)
    whole = audit(network, images, seed=seed)
    assert whole.neurons
    plans = {1: subsamples.eighths(), 2: subsamples.quarters(), 4: subsamples.halves()}
    by_size = {
        size: [pans(audit(network, subsample(images, some, seed))) for some in plan]
        for size, plan in plans.items()
    }
    for step, (size, found) in zip(
        whole.findings["pans"].convergence, by_size.items(), strict=False
    ):
        overlaps = [len(one & pans(whole)) / len(one | pans(whole)) for one in found]
        assert (step.images, step.subsamples) == (8 * size, len(found))
        assert step.pan_count == pytest.approx(sum(map(len, found)) / len(found))
        assert (step.low, step.high) == (min(map(len, found)), max(map(len, found)))
        assert step.overlap == pytest.approx(sum(overlaps) / len(overlaps))
    for neuron in whole.neurons:
        share = sum((neuron.site, neuron.channel) in half for half in by_size[4]) / 14
        assert neuron.stability == pytest.approx(share)
    last = whole.findings["pans"].convergence[-1]
    assert (last.images, last.pan_count, last.overlap) == (64, whole.pan_count, 1)


def test_planted_pans_are_stable_and_their_number_is_sure() -> None:
    found = audit(fifteen_types(), bright_images(count=40))
    assert {neuron.stability for neuron in found.neurons} == {1}
    for name, value in (("pan_count", 15), ("pan_fraction", 1), ("layer_pan_fraction", 1)):
        assert found.measures[name].interval == (value, value)
    assert found.measures["pan_count"].intervals == {"(model)": (15, 15)}


def test_where_few_images_decide_the_interval_is_wide_and_holds_the_count() -> None:
    found = audit(fifteen_types(), mixed_images(60, 4))
    low, high = found.measures["pan_count"].interval or (0, 0)
    assert low <= found.pan_count <= high
    assert high - low >= 4
    assert any(0 < (neuron.stability or 0) < 1 for neuron in found.neurons)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_how_the_images_come_in_batches_changes_nothing(batch_size: int) -> None:
    images = mixed_images()
    one, other = (audit(random_network(), images, batch_size=size) for size in (16, batch_size))
    assert one.findings["pans"].convergence == other.findings["pans"].convergence
    assert one.measures["pan_count"] == other.measures["pan_count"]


@pytest.mark.parametrize(
    ("images", "memory", "why"),
    [(31, 1 << 30, "31 images, at least 32"), (900, 1, "activations do not fit in memory")],
)
def test_where_there_are_no_subsamples_the_audit_says_so(
    images: int, memory: int, why: str
) -> None:
    found = audit(fifteen_types(), bright_images(count=images), memory=memory)
    assert not found.findings["pans"].convergence
    assert found.measures["pan_count"].interval is None
    assert {neuron.stability for neuron in found.neurons} == {None}
    assert any(why in note for note in found.notes)


def test_stability_and_convergence_are_the_same_after_a_trip_through_json() -> None:
    found = audit(fifteen_types(), mixed_images())
    assert found.findings["pans"].convergence
    assert read_audit(found.to_json()) == found
