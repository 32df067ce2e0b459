"""Subsamples of images: their design by counting, their interval on populations that are known."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_pan.stats import subsamples
from pytest_pan.stats.subsamples import (
    GROUPS,
    Figures,
    group_of,
    halves,
    in_order,
    interval,
    quarters,
)

SHRINKS = {1.0: lambda n: 1 / n, 0.5: lambda n: n**-0.5}
"""Trends with the number of images, by their power."""


def test_each_pair_of_halves_shares_the_groups_out_and_two_pairs_are_balanced() -> None:
    pairs = list(zip(halves()[::2], halves()[1::2], strict=True))
    for one, other in pairs:
        assert sorted((*one, *other)) == list(range(GROUPS))
    for (one, _), (other, _) in combinations(pairs, 2):
        assert len(set(one) & set(other)) == GROUPS // 4


def test_quarters_and_eighths_share_the_groups_out() -> None:
    for plan, size in ((quarters(), 2), (subsamples.eighths(), 1)):
        assert {len(part) for part in plan} == {size}
        assert sorted(group for part in plan for group in part) == list(range(GROUPS))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(0, 99))
def test_images_of_a_unit_are_in_one_group_whatever_other_images_there_are(
    units: list[int], seed: int
) -> None:
    found = group_of(torch.tensor(units), seed)
    every = group_of(torch.arange(41), seed)
    assert found.tolist() == [int(every[unit]) for unit in units]


@pytest.mark.parametrize("units", [16, 17, 61, 160])
def test_each_aligned_block_of_eight_units_has_one_in_each_group(units: int) -> None:
    groups = group_of(torch.arange(units), seed=3)
    for block in groups[: units // 8 * 8].split(8):
        assert sorted(block.tolist()) == list(range(GROUPS))
    sizes = groups.bincount(minlength=GROUPS)
    assert int(sizes.max() - sizes.min()) <= 1


def test_units_at_the_same_place_of_each_block_are_in_every_group_equally_often() -> None:
    """Else every eighth frame of a film, or image of a class, would be in one group."""
    for place in group_of(torch.arange(8 * 500), seed=0).view(500, 8).T:
        assert scipy.stats.chisquare(place.bincount(minlength=GROUPS)).pvalue > 1e-3


def test_the_seed_deals_the_images_out() -> None:
    units = torch.arange(40)
    assert torch.equal(group_of(units, 1), group_of(units, 1))
    assert not torch.equal(group_of(units, 1), group_of(units, 2))


@given(st.lists(st.integers(0, GROUPS - 1), max_size=40))
def test_images_in_the_order_of_their_groups_are_each_there_once_and_between_the_ends(
    groups: list[int],
) -> None:
    order, ends = in_order(torch.tensor(groups, dtype=torch.long))
    for group, (start, end) in enumerate(pairwise(ends)):
        members = [image for image, mine in enumerate(groups) if mine == group]
        assert order[start:end].tolist() == members


def test_sums_of_subsamples_are_those_of_their_images() -> None:
    values = torch.rand(61, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = group_of(torch.arange(61), seed=5)
    found = Figures.of_sums(torch.stack([values[groups == g].sum(0) for g in range(GROUPS)]))

    def direct(plan: list[tuple[int, ...]]) -> Tensor:
        chosen = [torch.isin(groups, torch.tensor(part)) for part in plan]
        return torch.stack([values[some].sum(0) for some in chosen])

    torch.testing.assert_close(found.whole, values.sum(0))
    torch.testing.assert_close(found.halves, direct(halves()))
    torch.testing.assert_close(found.quarters, direct(quarters()))


def test_a_figure_of_two_figures_is_computed_on_each_subsample() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (Figures.of_sums(torch.rand(GROUPS, 2, generator=generator)) for _ in range(2))
    found = one.combined(other, torch.sub)
    for part in ("whole", "halves", "quarters"):
        assert torch.equal(getattr(found, part), getattr(one, part) - getattr(other, part))


def same_in_all(whole: float, by_half: float, by_quarter: float) -> Figures:
    """A figure that depends on the number of images only."""
    figures = torch.tensor([whole, by_half, by_quarter], dtype=torch.float64)
    return Figures(figures[0], figures[1].expand(14), figures[2].expand(4))


@pytest.mark.parametrize("amount", [2000.0, -2000.0])
@pytest.mark.parametrize("power", SHRINKS)
def test_a_figure_that_follows_its_trend_is_followed_to_very_many_images(
    power: float, amount: float
) -> None:
    """150 plus a term that shrinks with the images, 80 of them, 40 in halves and 20 in quarters:
    from the figure itself to exactly 150.
    """
    found = [150 + amount * SHRINKS[power](n) for n in (80, 40, 20)]
    low, high = interval(same_in_all(*found), power)
    assert (float(low), float(high)) == pytest.approx(sorted((150, found[0])))


@pytest.mark.parametrize("pairs", range(1, subsamples.MOST_PAIRS + 1))
def test_halves_that_vary_widen_the_interval_by_students_quantile_for_their_pairs(
    pairs: int,
) -> None:
    varying = torch.randn(2 * pairs, generator=torch.Generator().manual_seed(1)).double()
    varying -= varying.mean()
    low, high = interval(Figures(torch.tensor(5.0), 5 + varying, torch.full((4,), 5.0)))
    margin = scipy.stats.t.ppf(0.975, pairs) * float(varying.std())
    assert (float(low), float(high)) == pytest.approx((5 - margin, 5 + margin), rel=1e-3)


def means_of(values: Tensor, seed: int) -> Figures:
    """Mean of the images' values (N, ...), on all images and on subsamples."""
    groups = group_of(torch.arange(len(values)), seed)
    member = (groups == torch.arange(GROUPS)[:, None]).to(values.dtype)
    sums, sizes = Figures.of_sums(member @ values), Figures.of_sums(member.sum(1)[:, None])
    return sums.combined(sizes, torch.div)


@pytest.mark.parametrize("images", [32, 77])
def test_the_interval_of_a_mean_holds_it_about_95_times_in_100(images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    for seed in range(60):
        values = torch.randn(images, 10, generator=generator) + 3
        low, high = interval(means_of(values, seed))
        held += int(((low <= 3) & (high >= 3)).sum())
    assert 0.93 <= held / 600 <= 0.99


def population(neurons: int = 300) -> tuple[Tensor, int]:
    """True figures of neurons, most of them near nothing, and how many reach 0.5."""
    generator = torch.Generator().manual_seed(0)
    figures = torch.rand(neurons, generator=generator) ** 2
    return figures, int((figures >= 0.5).sum())


def counted(figures: Tensor, images: int, seed: int) -> Figures:
    """Count of neurons whose |mean over images| reaches 0.5.

    What an image shows of a neuron is its figure, an error of its own, and one that all share.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(images, len(figures), generator=generator)
    shared = 0.3 * torch.randn(images, 1, generator=generator)
    means = means_of(figures + own + shared, seed)
    return means.combined(means, lambda mean, _: (mean.abs() >= 0.5).sum(-1).double())


@pytest.mark.parametrize("images", [24, 96])
def test_the_interval_holds_the_true_count_of_a_population_about_95_times_in_100(
    images: int,
) -> None:
    figures, truth = population()
    held = above = 0
    for seed in range(200):
        count = counted(figures, images, seed)
        low, high = interval(count)
        held += bool(low <= truth <= high)
        above += bool(count.whole > truth)
    assert 180 <= held <= 200
    assert above > 110  # a plain count of few images is too high more often than not


@pytest.mark.parametrize("effect", [0.02, 0.1])
def test_the_interval_holds_a_mean_of_absolute_values_within_the_noise(effect: float) -> None:
    """Most of 200 absolute means of 64 images are noise of 0.125: without the slower trend the
    interval would lie above their true mean.
    """
    generator = torch.Generator().manual_seed(0)
    truth = effect * torch.randn(200, generator=generator)
    held = above = 0
    for seed in range(100):
        means = means_of(truth + torch.randn(64, 200, generator=generator), seed)
        sizes = means.combined(means, lambda mean, _: mean.abs().mean(-1))
        low, high = interval(sizes, power=0.5)
        held += bool(low <= truth.abs().mean() <= high)
        above += bool(interval(sizes)[0] > truth.abs().mean())
    assert held >= 95
    assert above > 50


def test_a_plain_bootstrap_would_count_too_many() -> None:
    """Why it is not used: its replicates lie above the count, which lies above the truth."""
    figures, truth = population()
    generator = torch.Generator().manual_seed(1)
    shown = figures + torch.randn(24, len(figures), generator=generator)
    whole = int((shown.mean(0).abs() >= 0.5).sum())
    drawn = torch.randint(24, (100, 24), generator=generator)
    replicates = (shown[drawn].mean(1).abs() >= 0.5).sum(1).double()
    assert truth < whole < float(replicates.mean())


def test_a_figure_that_no_subsample_changes_has_no_width() -> None:
    low, high = interval(same_in_all(4.0, 4.0, 4.0))
    assert float(low) == float(high) == 4
