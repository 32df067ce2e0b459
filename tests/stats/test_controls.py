"""PANs beside random neurons: by arithmetic, and where the PANs are random neurons themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import scipy.stats
import torch
from torch import Tensor

from pytest_pan.stats import controls, subsamples
from pytest_pan.stats.subsamples import GROUPS, Figures, group_of

SEEDS = 300


def steady(value: float) -> Figures:
    """A figure that is the same on all subsamples."""
    return Figures(*(torch.tensor(value).double().expand(shape) for shape in ((), (14,), (4,))))


def spread_of(draws: Sequence[float]) -> float:
    """Half the width of the prediction interval of one more draw."""
    error = torch.tensor(draws).double().std() * math.sqrt(1 + 1 / len(draws))
    return float(error) * float(scipy.stats.t.ppf(0.975, len(draws) - 1))


@pytest.mark.parametrize("draws", [(1.0, 2.0), (0.5, 2.5, 4.5, 0.5), (3.0, 3.0, 3.0)])
def test_without_variation_between_images_the_excess_is_as_sure_as_one_more_draw(
    draws: tuple[float, ...],
) -> None:
    middle, spread = 7 - sum(draws) / len(draws), spread_of(draws)
    found = controls.excess(steady(7), [steady(draw) for draw in draws])
    assert found == pytest.approx((middle - spread, middle + spread))


@pytest.mark.parametrize("draws", [(1.0, 2.0), (0.5, 2.5, 4.5, 0.5), (3.0, 3.0, 3.0)])
def test_without_variation_between_images_the_ratio_is_as_sure_as_one_more_draw_by_its_logarithm(
    draws: tuple[float, ...],
) -> None:
    middle = 7 / (sum(draws) / len(draws))
    factor = math.exp(spread_of([math.log(draw) for draw in draws]))
    found = controls.ratio(steady(7), [steady(draw) for draw in draws])
    assert found == pytest.approx((middle / factor, middle * factor))


def varying(seed: int) -> Figures:
    groups = torch.rand(GROUPS, generator=torch.Generator().manual_seed(seed)).double() / GROUPS
    sums = Figures.of_sums(1 + groups)
    return Figures(sums.whole, 2 * sums.halves, 4 * sums.quarters)


def test_draws_that_are_alike_leave_the_interval_over_images() -> None:
    pans = varying(0)
    low, high = (float(end) for end in subsamples.interval(pans))
    assert controls.excess(pans, [steady(2)] * 3) == pytest.approx((low - 2, high - 2))
    low, high = controls.ratio(pans, [steady(2)] * 3)
    assert low < float(pans.whole) / 2 < high


def test_what_the_images_do_to_pans_and_draws_alike_cancels() -> None:
    pans = varying(0)
    assert controls.excess(pans, [pans, pans]) == pytest.approx((0, 0), abs=1e-12)
    assert controls.ratio(pans, [pans, pans]) == pytest.approx((1, 1))
    twice = pans.combined(pans, torch.add)
    assert controls.ratio(twice, [pans, pans]) == pytest.approx((2, 2))


def test_errors_of_images_and_of_draws_add_up_as_the_sides_of_a_right_triangle() -> None:
    pans, draws = varying(1), (1.0, 1.5, 3.5)
    spread = spread_of(draws)
    low, high = (float(end) - 2 for end in subsamples.interval(pans))
    middle = float(pans.whole) - 2
    expected = middle - math.hypot(middle - low, spread), middle + math.hypot(high - middle, spread)
    assert controls.excess(pans, [steady(draw) for draw in draws]) == pytest.approx(expected)


def test_a_ratio_to_draws_that_move_nothing_is_finite() -> None:
    low, high = controls.ratio(steady(0.5), [steady(0), steady(0)])
    assert 1 < low <= high < math.inf


def figures_of_networks(effects: Tensor, seed: int, images: int = 64) -> list[Figures]:
    """Figures of sets of neurons: what each does, an error by image, and one that all share."""
    generator = torch.Generator().manual_seed(seed)
    own = 0.5 * torch.randn(images, len(effects), generator=generator)
    values = effects + own + 0.5 * torch.randn(images, 1, generator=generator)
    groups = group_of(torch.arange(images), seed)
    member = (groups == torch.arange(GROUPS)[:, None]).float()
    sums, sizes = Figures.of_sums(member @ values), Figures.of_sums(member.sum(1)[:, None])
    means = sums.combined(sizes, torch.div)
    each = zip(means.whole, means.halves.T, means.quarters.T, strict=True)
    return [Figures(*parts) for parts in each]


@pytest.mark.parametrize("spread", [0.05, 0.3])
@pytest.mark.parametrize("draws", [2, 5, 10])
def test_pans_that_are_a_random_draw_themselves_exceed_the_others_in_at_most_5_of_100(
    draws: int, spread: float
) -> None:
    above = {"excess": 0, "ratio": 0}
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(SEEDS + seed)
        effects = (1 + spread * torch.randn(draws + 1, generator=generator)).abs()
        pans, *others = figures_of_networks(effects, seed)
        above["excess"] += controls.excess(pans, others)[0] > 0
        above["ratio"] += controls.ratio(pans, others)[0] > 1
    assert max(above.values()) <= 0.05 * SEEDS


@pytest.mark.parametrize("draws", [5, 10])
def test_pans_far_from_random_neurons_are_found_to_be(draws: int) -> None:
    above = {"excess": 0, "ratio": 0}
    for seed in range(50):
        effects = 1 + 0.05 * torch.randn(draws + 1, generator=torch.Generator().manual_seed(seed))
        pans, *others = figures_of_networks(effects + 3 * torch.eye(draws + 1)[0], seed)
        above["excess"] += controls.excess(pans, others)[0] > 0
        above["ratio"] += controls.ratio(pans, others)[0] > 1
    assert min(above.values()) >= 45
