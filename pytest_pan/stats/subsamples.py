"""Trend and interval of a count of neurons, from subsamples of the images (ours).

A count of neurons beyond a threshold decreases as images are added: noise raises a statistic as
often as it lowers it, but more neurons lie below the threshold than above. A bootstrap sample
repeats images, so it has fewer distinct ones and overestimates the count. A subsample without
replacement is equivalent to an audit of fewer images, and a half relates to all images as all
images relate to the population: a statistic of half the images varies about that of all images
with variance s^2 / (n/2) - s^2 / n = s^2 / n, the variance of the latter about the true value. So
the spread of the counts over random halves needs no scaling, whatever power of n it follows.

The means over quarters and halves, and the figure on all images, show the trend. Its leading term
is proportional to 1/n. Extrapolating the least-squares line through the three to 1/n = 0 gives the
value for very many images: whole - (quarters - halves) / 2. An interval reaches from there to the
figure itself, and by the spread beyond both: it holds what any larger number of images would give.
A mean of absolute values has a slower trend: where the noise exceeds the values, it shrinks as the
noise does, with 1/sqrt(n), and whole - (quarters - halves) / (2 - sqrt(2)) is the value.

The unit of sampling may be larger than an image: crops of one photograph go together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

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


@dataclass(frozen=True, slots=True)
class Figures:
    """A figure on all images (...), on halves of them (R, ...) and on quarters (Q, ...).

    The halves are complementary pairs, as of :func:`halves`.
    """

    whole: Tensor
    halves: Tensor
    quarters: Tensor

    @classmethod
    def of_sums(cls, groups: Tensor) -> Self:
        """Return sums over images, given the sum of each group: (GROUPS, ...)."""
        return cls(groups.sum(0), sum_groups(groups, halves()), sum_groups(groups, quarters()))

    def combined(self, other: Figures, figure: Callable[[Tensor, Tensor], Tensor]) -> Figures:
        """Return a figure that is computed from this one and another one."""
        return Figures(
            figure(self.whole, other.whole),
            figure(self.halves, other.halves),
            figure(self.quarters, other.quarters),
        )


def group_of(units: Tensor, seed: int) -> Tensor:
    """Return the groups of images, given the number of the unit that each belongs to: (N,) int.

    Images of a unit are in one group. Each aligned block of eight units has one in each group.
    Groups depend only on the unit and the seed, so that sums by group can be streamed and merged
    without knowing the number of images.
    """
    blocks = units.div(GROUPS, rounding_mode="floor")
    distinct, row = blocks.unique(return_inverse=True)
    orders, generator = [torch.zeros(0, GROUPS, dtype=torch.long)], torch.Generator()
    for block in distinct.tolist():
        generator.manual_seed((seed * _STRIDE + block) % 2**63)
        orders.append(torch.randperm(GROUPS, generator=generator)[None])
    return torch.cat(orders)[row, units % GROUPS]


def in_order(groups: Tensor) -> tuple[Tensor, list[int]]:
    """Return an order of the images by group, (N,), and its GROUPS + 1 group boundaries."""
    ends = groups.bincount(minlength=GROUPS).cumsum(0).tolist()
    return groups.argsort(stable=True), [0, *ends]


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


def interval(figures: Figures, power: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the 95 % interval of the value for any larger number of images: (...) twice.

    The trend shrinks with the number of images to this power. There is one degree of freedom per
    pair of halves, since a complement adds little information if the figure is nearly a sum over
    images.
    """
    whole, by_half = figures.whole, figures.halves
    trend = (figures.quarters.mean(0) - by_half.mean(0)) / (4**power - 2**power)
    margin = _QUANTILES[len(by_half) // 2 - 1] * by_half.std(0)
    return whole - trend.clamp(min=0) - margin, whole - trend.clamp(max=0) + margin
