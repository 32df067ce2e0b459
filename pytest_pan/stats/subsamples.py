"""Trend and interval of a count of neurons, from subsamples of the images (ours).

A count of neurons beyond a threshold decreases as images are added: noise raises a statistic as
often as it lowers it, but more neurons lie below the threshold than above. A bootstrap sample
repeats images, so it has fewer distinct ones and overestimates the count. A subsample without
replacement is equivalent to an audit of fewer images, and a half relates to all images as all
images relate to the population: a statistic of half the images varies about that of all images
with variance s^2 / (n/2) - s^2 / n = s^2 / n, the variance of the latter about the true value. So
the spread of the counts over random halves needs no scaling, whatever power of n it follows.

The means over quarters and halves, and the count on all images, show the trend. Its leading term
is proportional to 1/n. Extrapolating the least-squares line through the three to 1/n = 0 gives the
value for very many images: whole - (quarters - halves) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUPS = 8
"""Number of groups of images; subsamples are unions of groups."""

_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)
"""97.5 % quantiles of Student's t for 1 to 7 degrees of freedom."""

_STRIDE = 1_000_033
"""Offset between the generator seeds of neighbouring seeds."""

MOST_PAIRS = len(_QUANTILES)

Subsample = tuple[int, ...]
"""Indices of the groups in a subsample."""


def in_groups(images: int, seed: int) -> tuple[Tensor, list[int]]:
    """Return a random order of the images, (images,), and its GROUPS + 1 group boundaries."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(images, generator=generator)
    return order, [round(images * group / GROUPS) for group in range(GROUPS + 1)]


def group_of(first: int, images: int, seed: int) -> Tensor:
    """Return the groups of the images from index ``first`` on: (images,) int.

    Each aligned block of eight images has one image in each group. Groups depend only on index and
    seed, so that sums by group can be streamed and merged without knowing the number of images.
    """
    found, generator = [], torch.Generator()
    for block in range(first // GROUPS, (first + images - 1) // GROUPS + 1):
        generator.manual_seed((seed * _STRIDE + block) % 2**63)
        found.append(torch.randperm(GROUPS, generator=generator))
    start = first % GROUPS
    return torch.cat(found)[start : start + images]


def sum_groups(groups: Tensor, plan: list[Subsample]) -> Tensor:
    """Sum the groups of each subsample in a plan: (GROUPS, ...) -> (S, ...)."""
    return torch.stack([groups[list(part)].sum(0) for part in plan])


def eighths() -> list[Subsample]:
    """Return the single groups."""
    return [(group,) for group in range(GROUPS)]


def quarters() -> list[Subsample]:
    """Return four disjoint pairs of groups."""
    return [(group, group + 1) for group in range(0, GROUPS, 2)]


def halves(pairs: int = MOST_PAIRS) -> list[Subsample]:
    """Return ``pairs`` pairs of complementary halves of four groups each.

    They are rows of a Hadamard matrix, so that halves from different pairs share two groups.
    """
    return [
        tuple(group for group in range(GROUPS) if (row & group).bit_count() % 2 == odd)
        for row in range(1, pairs + 1)
        for odd in (0, 1)
    ]


def interval(whole: Tensor, by_half: Tensor, by_quarter: Tensor) -> tuple[Tensor, Tensor]:
    """Return the 95 % interval of the value for very many images.

    Takes the figure on all images (...), on halves (R, ...) and on quarters (Q, ...). ``by_half``
    consists of complementary pairs. There is one degree of freedom per pair, since a complement
    adds little information if the figure is nearly a sum over images.
    """
    trend = (by_quarter.mean(0) - by_half.mean(0)) / 2
    margin = _QUANTILES[len(by_half) // 2 - 1] * by_half.std(0)
    return whole - trend - margin, whole - trend + margin
