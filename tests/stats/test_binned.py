"""The binned engine against the sort engine, bit for bit, and against scipy."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import statistics
from torch import Tensor, nn

from pytest_pan.instrument.tap import Tap, tapped
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.pans import detection as pans
from pytest_pan.records.audit import Settings
from pytest_pan.stats import binned, labels
from pytest_pan.stats.ks import KS, border_statistics

pytest.importorskip("numba")


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Also where one of xdist's workers has a single core."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def pooled(parts: list[Tensor]) -> Tensor:
    """(N_i, C, ...) each -> (C, all the rest)."""
    return torch.cat(parts).transpose(0, 1).flatten(1)


def regions(batches: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    ends = ((2, 0), (2, -1), (3, 0), (3, -1))
    borders = [pooled([batch.select(*end) for batch in batches]) for end in ends]
    return borders, pooled([batch[:, :, 1:-1, 1:-1] for batch in batches])


def agrees(batches: list[Tensor]) -> KS:
    ours, finite = binned.binned_statistics(batches)
    assert finite.all()
    for mine, theirs in zip(ours, border_statistics(*regions(batches)), strict=True):
        assert torch.equal(mine, theirs)
    return ours


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


extremes = [0.0, -0.0, 1.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.0000001]


@st.composite
def maps(draw: st.DrawFn) -> list[Tensor]:
    """One to three batches of maps of 7 x 7 or 8 x 11, the ring moved by some shift."""
    kind = draw(st.sampled_from([np.float32, np.float64]))
    height, width = draw(st.sampled_from([(7, 7), (8, 11)]))
    elements = draw(
        st.sampled_from(
            [
                st.floats(allow_nan=False, allow_infinity=False, width=32),
                st.integers(-3, 3).map(float),
                st.floats(1, 1.015625, width=32),
                st.sampled_from(extremes),
                st.sampled_from([-1.0, 1.0]),
                st.just(2.5),
            ]
        )
    )
    shift = draw(st.sampled_from([0.0, 0.5, 100.0, -1e30]))
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        shape = (draw(st.integers(1, 3)), 2, height, width)
        found = draw(arrays(kind, shape, elements=elements))
        ring = np.ones(shape, bool)
        ring[:, :, 1:-1, 1:-1] = False
        with np.errstate(over="ignore"):
            moved = (found + kind(shift)).astype(kind)
        batches.append(torch.from_numpy(np.where(ring & np.isfinite(moved), moved, found)))
    return batches


@given(maps())
@settings(max_examples=150, deadline=None)
def test_any_maps_give_the_sorts_statistics_bit_for_bit_and_scipys(batches) -> None:
    ours = agrees(batches)
    borders, centre = regions(batches)
    for channel in range(2):
        for side, border in enumerate(borders):
            theirs = statistics(border[channel].double().numpy(), centre[channel].double().numpy())
            mine = [float(statistic[side, channel]) for statistic in ours]
            np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [3, 7, 14, 29, 80])
def test_maps_of_every_size_and_many_channels_in_threads_agree(size: int, dtype) -> None:
    batch = normal(5, 70, size, size).to(dtype) * normal(70, 1, 1, seed=1) + normal(70, 1, 1)
    batch[:, ::2, 0] += 1
    batch[:, ::3, :, -1] -= 2
    if size == 3:  # 1 centre value of a map: fewer than its border's, which is never examined
        with pytest.raises(ValueError, match="centre values"):
            binned.binned_statistics([batch])
    else:
        agrees([batch])


def test_maps_wider_than_the_scratch_and_oblong_ones_agree() -> None:
    agrees([normal(1, 2, 6, 5000)])
    agrees([normal(2, 2, 5000, 6)])


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_repeated_values_agree(decimals: int) -> None:
    agrees([normal(4, 6, 40, 40).round(decimals=decimals).relu()])


def test_a_border_outside_the_centre_is_told_without_looking_at_one_value() -> None:
    batch = normal(4, 3, 20, 20)
    batch[:, :, 0] += 100
    ours = agrees([batch])
    assert ours.plus[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [12, 60])
def test_an_outlier_that_leaves_all_others_in_one_slot_agrees(size: int) -> None:
    batch = normal(8, 4, size, size)
    batch[0, 1, 0, 0] = 1e30
    batch[0, 2, 0, 0] = -1e9
    batch[0, 3, 5, 5] = 1e30
    agrees([batch])


def test_borders_of_one_value_agree_whatever_the_centre_is() -> None:
    batch = normal(4, 4, 25, 25)
    for index in (0, -1):
        batch[:, :, index] = 0.25
        batch[:, :, :, index] = 0.25
    batch[:, 1] = 0
    batch[:, 2] = batch[:, 2].round(decimals=0)
    batch[:, 3, 1:-1, 1:-1] = 0.25
    agrees([batch])


def test_two_clusters_and_denormals_agree() -> None:
    clusters = normal(3, 4, 30, 30) * 1e-6 + (normal(3, 4, 30, 30, seed=1) > 0) * 1e6
    agrees([clusters])
    agrees([normal(3, 4, 30, 30) * 1e-42])


def test_several_batches_and_any_layout_in_memory_agree() -> None:
    wide = normal(4, 12, 18, 18)
    tail = normal(3, 9, 9, 6, seed=2).permute(0, 3, 1, 2)
    agrees([wide[:, ::2], wide[:, 1::2].contiguous(memory_format=torch.channels_last)])
    agrees([tail, tail[:1], normal(2, 6, 9, 9, seed=3)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [(0, 0), (0, 3), (5, 5), (9, 0), (4, 9)])
def test_a_channel_that_is_not_finite_is_named_and_the_others_agree(bad, place) -> None:
    batch = normal(3, 5, 10, 10)
    spoilt = batch.clone()
    spoilt[(2, 3, *place)] = bad
    ours, finite = binned.binned_statistics([batch[:1], spoilt[1:]])
    assert finite.tolist() == [True, True, True, False, True]
    for mine, theirs in zip(ours, border_statistics(*regions([batch])), strict=True):
        assert torch.equal(mine[:, finite], theirs[:, finite])


def test_a_channel_of_nothing_finite_does_not_stop_the_others() -> None:
    batch = normal(3, 3, 10, 10)
    batch[:, 1] = float("nan")
    assert binned.binned_statistics([batch])[1].tolist() == [True, False, True]


def detected(monkeypatch: pytest.MonkeyPatch, least: int) -> pans.Detected:
    monkeypatch.setattr(binned, "WORTHWHILE", least)
    monkeypatch.setattr(binned, "started", lambda: False)
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    states = States(1 << 30)
    batches = [(0, torch.randn(6, 3, 24, 24) + 2), (6, torch.randn(2, 3, 24, 24) + 2)]
    with torch.inference_mode():
        for first, batch in batches:
            tap = Tap(model, lambda call, at=first: states.add(call.site(), call.output, at))
            with tapped(tap):
                tap.begin()
                model.eval()(batch)
            states.end_batch(len(batch))
    return pans.detect(states, Settings(theta=0.3))


def test_the_audit_finds_the_same_neurons_with_and_without_numba(monkeypatch) -> None:
    calls = []
    original = binned.binned_statistics
    monkeypatch.setattr(
        binned, "binned_statistics", lambda maps, **more: calls.append(1) or original(maps, **more)
    )
    fast = detected(monkeypatch, 0)
    assert len(calls) == 2
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    slow = detected(monkeypatch, 0)
    assert len(calls) == 2
    assert fast == slow
    assert fast.neurons


def test_a_small_audit_does_without_the_compiler(monkeypatch) -> None:
    monkeypatch.setattr(binned, "binned_statistics", lambda *_, **__: pytest.fail("compiled"))
    assert detected(monkeypatch, 10**9).neurons


def test_once_started_it_takes_small_sites_too(monkeypatch) -> None:
    monkeypatch.setattr(binned, "started", lambda: True)
    assert binned.worthwhile(1, torch.zeros(1))


def test_a_device_or_a_precision_it_does_not_know_is_refused() -> None:
    assert binned.worthwhile(10**12, torch.zeros(1))
    assert not binned.worthwhile(10**12, torch.zeros(1, dtype=torch.float16))
    assert not binned.worthwhile(10**12, torch.zeros(1, device="meta"))


@given(maps(), st.floats(0.05, 1) | st.integers(1, 40).map(lambda n: n / 40), st.floats(-0.2, 1.2))
@settings(max_examples=200)
def test_a_threshold_changes_no_label_and_nothing_about_a_pan(batches, theta, near) -> None:
    exact, _ = binned.binned_statistics(batches)
    above, finite = binned.binned_statistics(batches, theta=theta, near=near)
    assert finite.all()
    assert torch.equal(labels.edge_detectors(above, theta), labels.edge_detectors(exact, theta))
    sides = labels.pans(exact, theta)
    assert torch.equal(labels.pans(above, theta), sides)
    reach = sides.any(0) | labels.pans(exact, near).any(0)
    for mine, theirs in zip(above, exact, strict=True):
        assert torch.equal(mine[:, reach], theirs[:, reach])


def test_a_statistic_that_equals_the_threshold_reaches_it() -> None:
    """The border lies between 12 and 4 of 16 centre values: KS is 0.75 as it stands."""
    one = torch.full((1, 1, 6, 6), 15.0)
    one[0, 0, 1:5, 1:5] = torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [20] * 4])
    at, above = (binned.binned_statistics([one], theta=theta)[0] for theta in (0.75, 0.7501))
    assert labels.edge_detectors(at, 0.75).all()
    assert not labels.edge_detectors(above, 0.7501).any()


@pytest.mark.parametrize("offset", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_zeros_as_a_relu_leaves_them_agree_wherever_they_lie_in_the_range(
    offset: float, share: float
) -> None:
    """Most of a map, or of its border, is one value among others that differ: of either sign."""
    values = normal(12, 20, 14, 14, seed=3) + offset
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(4)) < share] = 0
    values[:, 5:10, 0] = -0.0
    values[:, 10:15, :, -1] = 1e-45
    agrees([values])


@pytest.mark.usefixtures("two_threads")
def test_threads_that_one_call_left_serve_a_forked_child_too() -> None:
    values = normal(4, 64, 28, 28)
    agrees([values])
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    child = os.fork()
    if not child:  # a child that waits for threads it has not would never end
        signal.alarm(60)
        os._exit(0 if binned.binned_statistics([values])[1].all() else 1)
    assert os.waitpid(child, 0)[1] == 0
