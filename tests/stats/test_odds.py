"""Odds and their figures on subsamples, against numpy on the probabilities of all the images."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_pan.stats.odds import Affected, ClassSums, Odds
from pytest_pan.stats.subsamples import GROUPS, Figures, group_of, halves, quarters

SEED = 7


def shares(images: int, classes: int, seed: int) -> Tensor:
    """Probabilities (N, K) of a network that is rather sure of each image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(images, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1)


def groups_of(images: int) -> Tensor:
    return group_of(torch.arange(images), SEED)


def sums_of(probabilities: Tensor, size: int = 1000) -> ClassSums:
    """Sums of probabilities that come in batches of this size."""
    sums = ClassSums()
    batches = probabilities.split(size), groups_of(len(probabilities)).split(size)
    for some, groups in zip(*batches, strict=True):
        sums.add(some, groups)
    return sums


def odds_of(plan: Tensor, original: Tensor, size: int = 1000) -> Odds:
    return Odds(sums_of(plan, size), sums_of(original, size))


def parts(figures: Figures) -> list[tuple[float, Tensor]]:
    """Each subsample's figure, and which of 48 images are in it."""
    groups = groups_of(48)
    chosen: list[tuple[float, Sequence[int]]] = [(float(figures.whole), range(GROUPS))]
    chosen += zip(figures.halves.tolist(), halves(), strict=True)
    chosen += zip(figures.quarters.tolist(), quarters(), strict=True)
    return [(figure, torch.isin(groups, torch.tensor(list(part)))) for figure, part in chosen]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99), st.integers(1, 41))
def test_odds_are_those_of_numpy_in_batches_of_any_size(
    images: int, classes: int, seed: int, size: int
) -> None:
    plan, original = shares(images, classes, seed), shares(images, classes, seed + 1)
    expected = np.log(plan.numpy().sum(0) / original.numpy().sum(0))
    np.testing.assert_allclose(odds_of(plan, original, size).values, expected, atol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_batch_size_does_not_change_the_intervals(size: int) -> None:
    plan, original = shares(64, 5, 0), shares(64, 5, 1)
    whole, split = odds_of(plan, original), odds_of(plan, original, size)
    for ours, theirs in zip(split.intervals, whole.intervals, strict=True):
        assert torch.equal(ours, theirs)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99), st.randoms())
def test_sums_are_the_same_to_the_last_bit_in_any_order_and_in_any_parts(
    images: int, classes: int, seed: int, shuffled: random.Random
) -> None:
    values, groups = shares(images, classes, seed), groups_of(images)
    whole, merged = sums_of(values), ClassSums()
    order = list(range(images))
    shuffled.shuffle(order)
    for at in order:
        part = ClassSums()
        part.add(values[at : at + 1], groups[at : at + 1])
        merged.merge(part)
    assert torch.equal(merged.total, whole.total)
    assert torch.equal(merged.groups, whole.groups)
    torch.testing.assert_close(whole.total, values.sum(0), rtol=1e-14, atol=0)
    direct = torch.stack([values[groups == group].sum(0) for group in range(GROUPS)])
    torch.testing.assert_close(whole.groups, direct, rtol=1e-14, atol=0)


def test_the_interval_of_a_class_holds_its_odds_about_95_times_in_100() -> None:
    """The classes of 400,000 images stand for the truth."""

    def drawn(images: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        logits, moved = torch.randn(2, images, 4, generator=generator, dtype=torch.float64)
        moved = 0.3 * moved + torch.tensor([0.0, 0.2, 0.4, 0.0])
        return (2 * logits + moved).softmax(1), (2 * logits).softmax(1)

    plan, original = drawn(400_000, 999)
    truth = (plan.sum(0) / original.sum(0)).log()
    held = 0
    for seed in range(300):
        low, high = odds_of(*drawn(64, seed)).intervals
        held += int(((low <= truth) & (truth <= high)).sum())
    assert 0.93 <= held / 1200 <= 0.985


def test_identical_plans_have_odds_of_exactly_one_and_an_interval_of_nothing_else() -> None:
    same = shares(20, 4, 0)
    found = odds_of(same, same, 6)
    assert found.values.tolist() == [0] * 4
    assert [ends.tolist() for ends in found.intervals] == [[0] * 4] * 2
    assert float(found.largest(0).whole) == float(found.mean().whole) == 0


def test_swapping_the_plan_and_the_original_network_mirrors_odds_and_intervals_at_0() -> None:
    one, other = shares(48, 5, 0), shares(48, 5, 1)
    found, mirrored = odds_of(one, other), odds_of(other, one)
    torch.testing.assert_close(found.values, -mirrored.values)
    torch.testing.assert_close(found.intervals[0], -mirrored.intervals[1])


@pytest.mark.parametrize("least", [1e-32, 0.0])
@pytest.mark.parametrize("is_swapped", [True, False])
def test_a_class_whose_probabilities_sum_to_almost_nothing_has_no_odds_and_counts_nowhere(
    least: float, is_swapped: bool
) -> None:
    others = shares(40, 3, 0), shares(40, 3, 1)
    rare, usual = torch.full((40, 1), least), torch.full((40, 1), 0.25)
    pair = torch.cat([others[0], rare], 1), torch.cat([others[1], usual], 1)
    found = odds_of(*(pair[::-1] if is_swapped else pair))
    known = odds_of(*(others[::-1] if is_swapped else others))
    for values, expected in (
        (found.values, known.values),
        *zip(found.intervals, known.intervals, strict=True),
    ):
        assert values.isnan().tolist() == [False] * 3 + [True]
        torch.testing.assert_close(values[:3], expected)
    for ours, theirs in ((found.largest(0), known.largest(0)), (found.mean(), known.mean())):
        torch.testing.assert_close((ours.whole, ours.halves), (theirs.whole, theirs.halves))


def test_the_largest_odds_are_those_of_a_class_with_enough_support() -> None:
    """Odds of 1/5, 2 and 1; supports of 1, 4 and 11 images in sixteen."""
    original = torch.tensor([[1, 4, 11]], dtype=torch.float64).expand(16, 3) / 16
    plan = torch.tensor([[0.2, 8, 11]], dtype=torch.float64).expand(16, 3) / 16
    found = odds_of(plan, original)
    largest = [float(found.largest(support).whole.exp()) for support in (0.9, 1, 1.1, 4.1, 12)]
    assert largest == pytest.approx([5, 5, 2, 1, 1])


def test_the_mean_of_two_classes_weighs_each_by_its_support() -> None:
    """Support of 10 at odds of 1/2, and of 6 at odds of 11/6."""
    original = torch.tensor([[10, 6]], dtype=torch.float64).expand(16, 2) / 16
    plan = torch.tensor([[5, 11]], dtype=torch.float64).expand(16, 2) / 16
    expected = (10 * np.log(2) + 6 * np.log(11 / 6)) / 16
    assert float(odds_of(plan, original).mean().whole) == pytest.approx(expected)


@pytest.mark.parametrize("support", [0.0, 4.5])
def test_the_largest_odds_of_a_subsample_are_those_of_its_images_alone(support: float) -> None:
    plan, original = shares(48, 5, 0), shares(48, 5, 1)
    for found, chosen in parts(odds_of(plan, original).largest(support)):
        below = original[chosen].numpy().sum(0)
        sizes = np.abs(np.log(plan[chosen].numpy().sum(0) / below))
        assert found == pytest.approx(sizes[below >= support].max(initial=0))


def test_the_mean_odds_of_a_subsample_are_those_of_its_images_alone() -> None:
    plan, original = shares(48, 5, 0), shares(48, 5, 1)
    for found, chosen in parts(odds_of(plan, original).mean()):
        below = original[chosen].numpy().sum(0)
        sizes = np.abs(np.log(plan[chosen].numpy().sum(0) / below))
        assert found == pytest.approx(np.average(sizes, weights=below))


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 12), st.randoms())
def test_the_bounded_heap_keeps_what_sorting_would_put_first(
    distances: list[int], keep: int, shuffled: random.Random
) -> None:
    order = list(enumerate(distances))
    expected = sorted(order, key=lambda pair: (-pair[1], pair[0]))[:keep]
    shuffled.shuffle(order)
    affected = Affected(keep=keep)
    for index, distance in order:
        affected.add(index, distance, {"data": index})
    assert affected.most() == [(index, d, {"data": index}) for index, d in expected]


def test_distances_of_several_processes_are_in_the_order_of_the_images() -> None:
    ours, theirs = Affected(), Affected()
    for index, distance in ((4, 0.5), (0, 2.0)):
        ours.add(index, distance, None)
    theirs.add(2, 1.0, None)
    ours.merge(theirs)
    assert ours.in_order().tolist() == [2.0, 1.0, 0.5]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(distances: list[float], share: float) -> None:
    affected = Affected(distances=dict(enumerate(distances)))
    expected = np.quantile(distances, share)
    np.testing.assert_allclose(affected.quantile(share), expected, rtol=1e-9, atol=1e-9)


def test_without_images_the_quantile_is_zero() -> None:
    assert Affected().quantile(0.99) == 0
