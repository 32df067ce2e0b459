"""Bootstrap intervals against theory, and against numpy where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_pan.stats.intervals import of_largest_sum, of_mean, trend_of_quantile
from pytest_pan.stats.odds import basic_interval
from pytest_pan.stats.subsamples import group_of


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_law_says() -> None:
    """1.96 standard errors to each side, within a sixth: 200 replicates leave some noise."""
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    low, high = of_mean(values, seed=1)
    error = 1.96 * float(values.std()) / 2000**0.5
    assert low < float(values.mean()) < high
    assert (high - low) / 2 == pytest.approx(error, rel=1 / 6)


def test_over_repeated_samples_the_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    draws = np.random.default_rng(3).exponential(size=(200, 150))
    ends = [of_mean(torch.from_numpy(sample), seed=i) for i, sample in enumerate(draws)]
    covered = sum(low <= 1 <= high for low, high in ends)
    assert 176 <= covered <= 198


@pytest.mark.parametrize("images", [1, 2, 50])
def test_a_constant_has_no_width(images: int) -> None:
    values = torch.full((images,), 3.0)
    assert of_mean(values, seed=0) == (3, 3)


def test_figures_of_the_same_seed_are_weighed_alike() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(4))
    low, high = of_mean(values, seed=5)
    twice = of_mean(2 * values + 1, seed=5)
    assert twice == pytest.approx((2 * low + 1, 2 * high + 1))
    assert of_mean(values, seed=6) != (low, high)


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
