"""Streamed odds against numpy on all the logits at once."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pytest_pan.stats.odds import (
    REPLICATES,
    Affected,
    ClassSums,
    log_odds,
    log_odds_interval,
    weights,
)


def numpy_log_odds(plan: NDArray[np.float64], original: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = []
    for logits in (plan, original):
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        sums.append(shares.sum(axis=0))
    found: NDArray[np.float64] = np.log(sums[0] / sums[1])
    return found


def logits(images: int, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(images, classes, generator=generator, dtype=torch.float64)


def streamed(plan: Tensor, original: Tensor, size: int) -> tuple[ClassSums, ClassSums]:
    sums, first = (ClassSums(), ClassSums()), 0
    for ours, theirs in zip(plan.split(size), original.split(size), strict=True):
        drawn = weights(first, len(ours), 7)
        first += len(ours)
        sums[0].add(ours.softmax(1), drawn)
        sums[1].add(theirs.softmax(1), drawn)
    return sums


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99), st.integers(1, 41))
def test_odds_are_those_of_ten_lines_of_numpy_in_batches_of_any_size(
    images: int, classes: int, seed: int, size: int
) -> None:
    plan, original = logits(images, classes, seed), logits(images, classes, seed + 1)
    found = log_odds(*streamed(plan, original, size))
    np.testing.assert_allclose(found, numpy_log_odds(plan.numpy(), original.numpy()), atol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 30, 64])
def test_the_batch_size_does_not_change_the_bootstrap(size: int) -> None:
    plan, original = logits(64, 5, 0), logits(64, 5, 1)
    whole = log_odds_interval(*streamed(plan, original, 64))
    parts = log_odds_interval(*streamed(plan, original, size))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_an_images_weights_are_poisson_and_depend_on_its_number_and_the_seed_only() -> None:
    whole = weights(0, 500, 3)
    parts = [weights(first, n, 3) for first, n in ((0, 1), (1, 99), (100, 400))]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert not torch.equal(weights(0, 500, 4), whole)
    assert whole.shape == (REPLICATES, 500)
    assert abs(float(whole.mean()) - 1) < 0.02
    assert abs(float(whole.var()) - 1) < 0.02
    apart = torch.corrcoef(whole.T)[torch.triu_indices(500, 500, 1).unbind()]
    assert (
        float(apart.abs().max()) < 0.5
    )  # of 200 draws each, 125,000 pairs: 5.4 deviations are 0.38


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99), st.randoms())
def test_sums_are_the_same_to_the_last_bit_in_any_order_and_in_any_parts(
    images: int, classes: int, seed: int, shuffled: random.Random
) -> None:
    shares, drawn = logits(images, classes, seed).softmax(1), weights(0, images, seed)
    whole, merged = ClassSums(), ClassSums()
    whole.add(shares, drawn)
    order = list(range(images))
    shuffled.shuffle(order)
    for at in order:
        part = ClassSums()
        part.add(shares[at : at + 1], drawn[:, at : at + 1])
        merged.merge(part)
    assert torch.equal(merged.total, whole.total)
    assert torch.equal(merged.replicates, whole.replicates)
    torch.testing.assert_close(whole.total, shares.sum(0), rtol=1e-14, atol=0)


def test_the_interval_is_as_wide_as_the_spread_of_the_log_odds_over_new_images() -> None:
    """Drawing the images themselves again and again is what the bootstrap imitates."""
    low, high = log_odds_interval(*streamed(logits(400, 3, 0), logits(400, 3, 1), 100))
    again = [log_odds(*streamed(logits(400, 3, s), logits(400, 3, s + 1), 400)) for s in range(200)]
    spread = torch.stack(again).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    ratio = (high - low) / (spread[1] - spread[0])
    assert ((ratio > 0.7) & (ratio < 1.4)).all()


def test_identical_plans_have_odds_of_exactly_one_and_an_interval_of_nothing_else() -> None:
    same = logits(20, 4, 0)
    sums = streamed(same, same, 6)
    assert log_odds(*sums).tolist() == [0] * 4
    assert [ends.tolist() for ends in log_odds_interval(*sums)] == [[0] * 4] * 2


@pytest.mark.parametrize("least", [1e-31, 0.0])
@pytest.mark.parametrize("is_swapped", [True, False])
def test_a_class_whose_probabilities_sum_to_almost_nothing_has_no_odds(
    least: float, is_swapped: bool
) -> None:
    rare = torch.tensor([[1 - least, least]], dtype=torch.float64)
    usual = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    plan, original = ClassSums(), ClassSums()
    ones = torch.ones(REPLICATES, 1, dtype=torch.float64)
    for sums, values in ((plan, rare), (original, usual)):
        sums.add(values, ones)
    pair = (original, plan) if is_swapped else (plan, original)
    found, ends = log_odds(*pair), log_odds_interval(*pair)
    assert [bool(value) for value in found.isnan()] == [False, True]
    assert all([bool(v) for v in end.isnan()] == [False, True] for end in ends)


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


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(distances: list[float], share: float) -> None:
    affected = Affected(distances=dict(enumerate(distances)))
    expected = np.quantile(distances, share)
    np.testing.assert_allclose(affected.quantile(share), expected, rtol=1e-9, atol=1e-9)


def test_without_images_the_quantile_is_zero() -> None:
    assert Affected().quantile(0.99) == 0
