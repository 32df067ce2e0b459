"""Subsamples of images: their design by counting, their interval on populations that are known."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch

from pytest_pan.stats import odds, subsamples
from pytest_pan.stats.subsamples import GROUPS, group_of, halves, in_groups, interval, quarters


def test_each_pair_of_halves_shares_the_groups_out_and_two_pairs_are_balanced() -> None:
    pairs = list(zip(halves()[::2], halves()[1::2], strict=True))
    for one, other in pairs:
        assert sorted((*one, *other)) == list(range(GROUPS))
    for (one, _), (other, _) in combinations(pairs, 2):
        assert len(set(one) & set(other)) == GROUPS // 4


@pytest.mark.parametrize("images", [16, 17, 61, 160])
def test_every_image_is_in_one_group_and_groups_differ_by_one_image(images: int) -> None:
    order, ends = in_groups(images, seed=3)
    assert sorted(order.tolist()) == list(range(images))
    sizes = {end - start for start, end in pairwise(ends)}
    assert (ends[0], ends[-1]) == (0, images)
    assert max(sizes) - min(sizes) <= 1


def test_counts_that_fall_as_one_over_the_images_are_followed_to_the_end() -> None:
    """150 + 2000 / n at n = 80, where halves have 40 and quarters 20: exactly 150."""
    whole, by_half, by_quarter = (torch.tensor(150 + 2000 / n) for n in (80, 40, 20))
    low, high = interval(whole, by_half.expand(14), by_quarter.expand(4))
    assert float(low) == pytest.approx(150, abs=1e-3)
    assert float(high) == pytest.approx(150, abs=1e-3)


def population(neurons: int = 300) -> tuple[torch.Tensor, int]:
    """True figures of neurons, most of them near nothing, and how many reach 0.5."""
    generator = torch.Generator().manual_seed(0)
    figures = torch.rand(neurons, generator=generator) ** 2
    return figures, int((figures >= 0.5).sum())


def counted(figures: torch.Tensor, images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Count of neurons whose |mean over images| reaches 0.5: of all, and by subsample (23,).

    What an image shows of a neuron is its figure, an error of its own, and one that all share.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(images, len(figures), generator=generator)
    shared = 0.3 * torch.randn(images, 1, generator=generator)
    shown = figures + own + shared
    order, ends = in_groups(images, seed)
    sums = torch.stack([shown[order[a:b]].sum(0) for a, b in pairwise(ends)])
    sizes = torch.tensor([b - a for a, b in pairwise(ends)])
    plan = [tuple(range(GROUPS)), *halves(), *quarters()]
    means = [sums[list(some)].sum(0) / sizes[list(some)].sum() for some in plan]
    counts = (torch.stack(means).abs() >= 0.5).sum(1).double()
    return counts[0], counts[1:]


@pytest.mark.parametrize("images", [24, 96])
def test_the_interval_holds_the_true_count_of_a_population_about_95_times_in_100(
    images: int,
) -> None:
    figures, truth = population()
    held = above = 0
    for seed in range(200):
        whole, others = counted(figures, images, seed)
        low, high = interval(whole, others[:14], others[14:])
        held += bool(low <= truth <= high)
        above += bool(whole > truth)
    assert 180 <= held <= 200
    assert above > 110  # a plain count of few images is too high more often than not


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
    alike = torch.tensor([4.0, 0.0])
    low, high = interval(alike, alike.expand(14, 2), alike.expand(4, 2))
    assert low.tolist() == high.tolist() == [4, 0]


def test_the_seed_deals_the_images_out() -> None:
    assert in_groups(40, 1)[0].tolist() == in_groups(40, 1)[0].tolist()
    assert in_groups(40, 1)[0].tolist() != in_groups(40, 2)[0].tolist()
    assert len(subsamples.eighths()) == GROUPS


def test_groups_by_number_are_the_same_in_any_parts_and_one_of_each_among_eight() -> None:
    whole = group_of(0, 61, seed=5)
    parts = [group_of(first, n, seed=5) for first, n in ((0, 1), (1, 9), (10, 30), (40, 21))]
    assert torch.equal(torch.cat(parts), whole)
    assert all(sorted(eight.tolist()) == list(range(8)) for eight in whole[:56].view(7, 8))


def test_odds_of_a_half_are_those_of_its_images_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    plain, swapped = (torch.randn(48, 5, generator=generator).softmax(1) for _ in range(2))
    groups = group_of(0, 48, seed=2)
    drawn = torch.cat([odds.weights(0, 48, 2), (groups == torch.arange(8)[:, None]).double()])
    sums = [odds.ClassSums(), odds.ClassSums()]
    for each, shares in zip(sums, (swapped, plain), strict=True):
        each.add(shares[:20], drawn[:, :20])
        each.add(shares[20:], drawn[:, 20:])
    of_all, by_half, by_quarter = odds.largest(*sums)
    for part, found in ((halves()[3], by_half[3]), (quarters()[2], by_quarter[2])):
        mine = torch.isin(groups, torch.tensor(part))
        ratio = swapped[mine].double().sum(0) / plain[mine].double().sum(0)
        assert float(found) == pytest.approx(float(ratio.log().abs().max()))
    ratio = swapped.double().sum(0) / plain.double().sum(0)
    assert float(of_all) == pytest.approx(float(ratio.log().abs().max()))
