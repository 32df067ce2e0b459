"""Bootstrap intervals against theory, and against numpy where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from pytest_pan.stats.intervals import of_largest_sum, of_mean, trend_of_quantile
from pytest_pan.stats.odds import basic_interval
from pytest_pan.stats.subsamples import group_of


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_law_says() -> None:
    """1.96 standard errors to each side, within a sixth: 200 replicates leave some noise."""
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    low, high = of_mean(values, seed=1, within=(-9, 9))
    error = 1.96 * float(values.std()) / 2000**0.5
    assert low < float(values.mean()) < high
    assert (high - low) / 2 == pytest.approx(error, rel=1 / 6)


def test_over_repeated_samples_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    draws = np.random.default_rng(3).exponential(size=(200, 150))
    ends = [
        of_mean(torch.from_numpy(sample), seed=i, within=(0, 99)) for i, sample in enumerate(draws)
    ]
    covered = sum(low <= 1 <= high for low, high in ends)
    assert 176 <= covered <= 198


@pytest.mark.parametrize("images", [1, 2, 50, 160])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_no_image_showed_is_as_likely_as_scipy_says_of_a_share(
    images: int, value: float
) -> None:
    exact = scipy.stats.binomtest(int(value * images), images).proportion_ci(method="exact")
    found = of_mean(torch.full((images,), value), seed=0, within=(0, 1))
    assert found == pytest.approx((exact.low, exact.high))


def test_no_accuracy_lost_or_won_leaves_room_on_both_sides() -> None:
    low, high = of_mean(torch.zeros(40), seed=0, within=(-1, 1))
    assert (low, high) == pytest.approx((0.025 ** (1 / 40) - 1, 1 - 0.025 ** (1 / 40)))


def test_lines_that_flip_nothing_may_flip_some_of_as_many_other_images() -> None:
    exact = scipy.stats.binomtest(0, 40).proportion_ci(method="exact")
    assert of_largest_sum(torch.zeros(6, 40), seed=0) == pytest.approx((0, 40 * exact.high))


def test_figures_of_the_same_seed_are_weighed_alike() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(4))
    low, high = of_mean(values, seed=5, within=(0, 1))
    twice = of_mean(2 * values + 1, seed=5, within=(1, 3))
    assert twice == pytest.approx((2 * low + 1, 2 * high + 1))
    assert of_mean(values, seed=6, within=(0, 1)) != (low, high)


def test_the_largest_of_many_noisy_figures_is_too_large_and_its_interval_comes_down() -> None:
    """Forty lines flip one image in ten each: the largest sum of sixty images lies above six, and
    an interval of quantiles would lie higher still.
    """
    generator = torch.Generator().manual_seed(7)
    held = above = 0
    for seed in range(60):
        changes = (torch.rand(40, 60, generator=generator) < 0.1).double()
        low, high = of_largest_sum(changes, seed=seed)
        held += low <= 6 <= high
        above += float(changes.sum(1).max()) > 9
    assert held >= 50
    assert above >= 50


def test_the_basic_interval_mirrors_the_quantiles_at_the_figure() -> None:
    replicates = torch.arange(0, 201, dtype=torch.float64)
    assert basic_interval(80.0, replicates) == pytest.approx((160 - 195, 160 - 5))


def test_a_quantile_far_out_is_expected_beyond_what_few_images_show() -> None:
    """Of 80 exponential draws the 99th percentile is below the true log(100) more often than not;
    what ends at the largest draw, as a bootstrap does, holds it in 1 - 0.99^80 = 55 % at most.
    """
    held = below = 0
    for seed in range(100):
        values = torch.from_numpy(np.random.default_rng(seed).exponential(size=80))
        low, high = trend_of_quantile(values, group_of(0, 80, seed), 0.99)
        held += low <= np.log(100) <= high
        below += float(values.quantile(0.99)) < np.log(100)
    assert below > 55
    assert held > 62
