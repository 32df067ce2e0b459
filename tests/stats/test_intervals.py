"""Intervals over images against scipy, arithmetic, and repeated samples from known populations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from pytest_pan.stats.intervals import (
    Interval,
    of_difference,
    of_largest_sum,
    of_mean,
    of_proportion,
    of_quantile,
    of_share,
)

Draw = Callable[[Generator], NDArray[np.float64]]
Figure = Callable[[Tensor, Tensor], Interval | None]

SAMPLES = 300


def apart(images: int) -> Tensor:
    """Units of images that are each by itself."""
    return torch.arange(images)


def copied(units: int, copies: int) -> Tensor:
    """Units of copies that follow one another."""
    return torch.arange(units).repeat_interleave(copies)


def clopper_pearson(ones: int, images: int) -> Interval:
    found = scipy.stats.binomtest(ones, images).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def marked(ones: int, images: int) -> Tensor:
    return (torch.arange(images) < ones).long()


def coverage(figure: Figure, draw: Draw, truth: float, copies: int = 1) -> float:
    """Share of samples whose interval holds the truth; each value is that of so many images."""
    held = 0
    for seed in range(SAMPLES):
        values = torch.from_numpy(draw(np.random.default_rng(seed)))
        ends = figure(values.repeat_interleave(copies), copied(len(values), copies))
        held += ends is not None and ends[0] <= truth <= ends[1]
    return held / SAMPLES


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda random: random.exponential(size=60), 1),
        (lambda random: random.gamma(4, size=16), 4),
        (lambda random: random.random(200), 0.5),
        (lambda random: random.binomial(30, 0.2, size=40).astype(float), 6),
    ],
)
def test_the_interval_of_a_mean_holds_it_about_95_times_in_100(
    draw: Draw, truth: float, copies: int
) -> None:
    assert 0.93 <= coverage(of_mean, draw, truth, copies) <= 0.985


def test_the_interval_of_a_mean_of_alike_values_is_students() -> None:
    """Where the values hardly differ, the logarithm is a straight line."""
    values = 1000 + torch.randn(40, generator=torch.Generator().manual_seed(0)).double()
    error = float(values.std()) / 40**0.5
    expected = scipy.stats.t.interval(0.95, 39, loc=float(values.mean()), scale=error)
    assert of_mean(values, apart(40)) == pytest.approx(expected, abs=1e-3)


def test_the_interval_of_a_mean_scales_with_the_values_and_never_reaches_0() -> None:
    values = torch.zeros(40)
    values[3] = 0.7
    low, high = of_mean(values, apart(40))
    assert 0 < low < 0.7 / 40 < high
    assert of_mean(1000 * values, apart(40)) == pytest.approx((1000 * low, 1000 * high))


@pytest.mark.parametrize("units", [1, 16, 50])
def test_a_mean_of_nothing_but_0_ends_where_the_exact_interval_of_a_share_does(units: int) -> None:
    ends = of_mean(torch.zeros(3 * units), copied(units, 3))
    assert ends == pytest.approx(clopper_pearson(0, units))


@pytest.mark.parametrize(("ones", "images"), [(0, 1), (1, 1), (0, 40), (1, 40), (17, 40), (40, 40)])
def test_the_interval_of_a_proportion_is_scipys_exact_one(ones: int, images: int) -> None:
    expected = clopper_pearson(ones, images)
    assert of_proportion(ones, images) == pytest.approx(expected)
    assert of_share(marked(ones, images), apart(images)) == pytest.approx(expected)


@pytest.mark.parametrize(("ones", "images"), [(0, 20), (3, 20), (10, 20), (20, 20), (7, 300)])
@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_an_image_in_its_unit_do_not_narrow_the_interval_of_a_share(
    ones: int, images: int, copies: int
) -> None:
    values = marked(ones, images).repeat_interleave(copies)
    assert of_share(values, copied(images, copies)) == pytest.approx(clopper_pearson(ones, images))


def test_units_that_are_no_more_alike_than_others_count_nearly_as_single_images() -> None:
    """The widths of 100 samples of 120 images that are independent, though in units of two."""
    widths = exact = 0.0
    for seed in range(100):
        ones = torch.rand(120, generator=torch.Generator().manual_seed(seed)) < 0.3
        low, high = of_share(ones, copied(60, 2))
        widths += high - low
        low, high = clopper_pearson(int(ones.sum()), 120)
        exact += high - low
    assert 1 <= widths / exact < 1.15  # of 60 images: 1.4


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_the_interval_of_a_share_of_images_in_units_holds_it_about_95_times_in_100(
    spread: float,
) -> None:
    """Thirty units of five images, and a probability that differs between units."""
    held = 0
    for seed in range(SAMPLES):
        random = np.random.default_rng(seed)
        chances = random.beta(0.3 / spread, 0.7 / spread, size=30).repeat(5)
        low, high = of_share(torch.from_numpy(random.random(150) < chances), copied(30, 5))
        held += low <= 0.3 <= high
    assert 0.93 <= held / SAMPLES <= 0.995


def outcomes(gained: float, lost: float, images: int) -> Draw:
    """Draws 1 with a probability, -1 with another, and else 0."""
    return lambda random: random.choice(
        [1, -1, 0], size=images, p=[gained, lost, 1 - gained - lost]
    )


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize(
    ("gained", "lost", "images"),
    [(0.2, 0.1, 40), (0.1, 0.05, 100), (0.05, 0, 100), (0.02, 0.01, 40), (0.5, 0.4, 40)],
)
def test_the_interval_of_a_difference_holds_it_at_least_93_times_in_100(
    gained: float, lost: float, images: int, copies: int
) -> None:
    draw = outcomes(gained, lost, images)
    assert coverage(of_difference, draw, gained - lost, copies) >= 0.93


def test_the_interval_of_a_difference_is_agrestis_and_mins_of_so_many_pairs() -> None:
    """Of 60 pairs, 6 gained and 2 lost, with half a pair more of each of the four outcomes."""
    values = torch.tensor([1] * 6 + [-1] * 2 + [0] * 52)
    gained, lost, total = 6.5, 2.5, 62
    error = math.sqrt(gained + lost - (gained - lost) ** 2 / total) / total
    expected = scipy.stats.t.interval(0.95, 59, loc=4 / 62, scale=error)
    assert of_difference(values, apart(60)) == pytest.approx(expected)


def test_no_accuracy_lost_or_won_leaves_as_much_room_on_both_sides() -> None:
    low, high = of_difference(torch.zeros(40), apart(40))
    assert -0.1 < low == -high < -0.025
    few = of_difference(torch.zeros(40), copied(10, 4))
    assert few == pytest.approx(of_difference(torch.zeros(10), apart(10)))


def test_the_interval_of_a_difference_ends_at_1() -> None:
    assert of_difference(torch.ones(20), apart(20))[1] == 1
    assert of_difference(-torch.ones(20), apart(20))[0] == -1


def test_gains_and_losses_that_change_places_mirror_the_interval_of_the_difference() -> None:
    values = torch.tensor([1] * 9 + [-1] * 2 + [0] * 29)
    low, high = of_difference(values, copied(20, 2))
    assert of_difference(-values, copied(20, 2)) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    ("images", "share"), [(368, 0.99), (400, 0.99), (2000, 0.99), (7, 0.5), (100, 0.5), (100, 0.9)]
)
def test_the_interval_of_a_quantile_ends_at_the_order_statistics_of_the_binomial_law(
    images: int, share: float
) -> None:
    values = torch.randn(images, generator=torch.Generator().manual_seed(0)).double()
    below, upto = scipy.stats.binom.ppf([0.025, 0.975], images, share).astype(int)
    ordered = np.sort(values.numpy())
    expected = ordered[below - 1], ordered[upto]  # the below-th and the one after the upto-th
    assert of_quantile(values, apart(images), share) == expected


@pytest.mark.parametrize(("images", "share"), [(367, 0.99), (367, 0.01), (5, 0.5)])
def test_too_few_images_for_an_end_of_a_quantile_give_no_interval(
    images: int, share: float
) -> None:
    assert of_quantile(torch.arange(images), apart(images), share) is None


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize(("images", "share"), [(368, 0.99), (700, 0.99), (40, 0.5)])
def test_the_interval_of_a_quantile_holds_it_about_95_times_in_100(
    images: int, share: float, copies: int
) -> None:
    held = coverage(
        lambda values, units: of_quantile(values, units, share),
        lambda random: random.exponential(size=images),
        -math.log(1 - share),
        copies,
    )
    assert 0.93 <= held <= 0.995


def test_copies_of_an_image_in_its_unit_change_the_interval_of_a_quantile_in_nothing() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0))
    units = apart(500).repeat(2)
    assert of_quantile(values.repeat(2), units, 0.99) == of_quantile(values, apart(500), 0.99)
    assert of_quantile(values[:200].repeat(2), units[:400] % 200, 0.99) is None


def test_lines_that_flip_nothing_may_flip_some_of_as_many_other_images() -> None:
    expected = (0, 40 * clopper_pearson(0, 40)[1])
    assert of_largest_sum(torch.zeros(6, 40), apart(40), seed=0) == pytest.approx(expected)
    grouped = of_largest_sum(torch.zeros(6, 40), copied(20, 2), seed=0)
    assert grouped == pytest.approx((0, 40 * clopper_pearson(0, 20)[1]))


def test_the_largest_of_many_noisy_figures_is_too_large_and_its_interval_comes_down() -> None:
    """Forty lines flip one image in ten each: the largest sum of sixty images lies above six, and
    an interval of quantiles would lie higher still.
    """
    generator = torch.Generator().manual_seed(7)
    held = above = 0
    for seed in range(60):
        changes = (torch.rand(40, 60, generator=generator) < 0.1).double()
        low, high = of_largest_sum(changes, apart(60), seed=seed)
        held += low <= 6 <= high
        above += float(changes.sum(1).max()) > 9
    assert held >= 50
    assert above >= 50


def test_the_interval_of_a_largest_sum_that_every_image_adds_as_much_to_has_no_width() -> None:
    """Groups of 7 and 8 images, so that the sums of subsamples must be scaled."""
    changes = torch.tensor([[0.25], [0.5]]).expand(2, 61)
    assert of_largest_sum(changes, apart(61), seed=1) == pytest.approx((30.5, 30.5))


def test_copies_of_images_in_their_units_scale_the_interval_of_the_largest_sum() -> None:
    """A unit's copies lie far apart."""
    generator = torch.Generator().manual_seed(7)
    changes = (torch.rand(40, 61, generator=generator) < 0.1).double()
    low, high = of_largest_sum(changes, apart(61), seed=1)
    twice = of_largest_sum(changes.repeat(1, 2), apart(61).repeat(2), seed=1)
    assert twice == pytest.approx((2 * low, 2 * high))


def test_the_interval_of_the_largest_sum_holds_no_more_than_all_the_images() -> None:
    changes = torch.ones(2, 40)
    changes[:, ::7] = 0
    low, high = of_largest_sum(changes, apart(40), seed=0)
    assert 0 < low < 34 < high <= 40
