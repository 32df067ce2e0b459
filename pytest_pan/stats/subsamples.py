"""What subsamples of the images tell of a count of neurons: its trend and its interval (ours).

A count of neurons beyond a threshold falls as images are added: noise lifts a statistic as often
as it lowers it, but more neurons lie below the threshold than above. A bootstrap sample repeats
images, so it has fewer different ones and counts too many. A subsample without replacement is what
an audit of so many images would have seen, and half of them stand to all of them as all of them
stand to the population: a statistic of half the images varies about that of all of them with the
variance with which that of all varies about the true one, s^2 / (n/2) - s^2 / n = s^2 / n. So
the spread of the counts over random halves needs no scaling, whatever power of n it follows.

The means over subsamples of a quarter, of half and all of the images show the trend. Its leading
term is one over their number, and the least-squares line through the three, at the end of that
axis, says what very many images would give: whole - (quarters - halves) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUPS = 8
"""Groups of images; subsamples are unions of them."""

_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)
"""97.5 % of Student's t for 1 to 7 degrees of freedom."""

_STRIDE = 1_000_033
"""Between the seeds' series."""

MOST_PAIRS = len(_QUANTILES)

Subsample = tuple[int, ...]
"""The groups that are in it."""


def in_groups(images: int, seed: int) -> tuple[Tensor, list[int]]:
    """Images in a random order, (images,), and where in it each group begins, and the last ends."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(images, generator=generator)
    return order, [round(images * group / GROUPS) for group in range(GROUPS + 1)]


def group_of(first: int, images: int, seed: int) -> Tensor:
    """The groups of images by their numbers, from ``first`` on, (images,) int: of eight in a row
    one in each. They depend on number and seed only, so that what is summed by group streams and
    merges; how many images there will be need not be known.
    """
    found, generator = [], torch.Generator()
    for block in range(first // GROUPS, (first + images - 1) // GROUPS + 1):
        generator.manual_seed((seed * _STRIDE + block) % 2**63)
        found.append(torch.randperm(GROUPS, generator=generator))
    start = first % GROUPS
    return torch.cat(found)[start : start + images]


def unions(groups: Tensor, plan: list[Subsample]) -> Tensor:
    """Sums of groups over the subsamples of a plan: (GROUPS, ...) -> (S, ...)."""
    return torch.stack([groups[list(part)].sum(0) for part in plan])


def eighths() -> list[Subsample]:
    """Each group alone."""
    return [(group,) for group in range(GROUPS)]


def quarters() -> list[Subsample]:
    """Four pairs of groups."""
    return [(group, group + 1) for group in range(0, GROUPS, 2)]


def halves(pairs: int = MOST_PAIRS) -> list[Subsample]:
    """Four groups and the other four, so many times: rows of a Hadamard matrix, so that each group
    is in one half of every pair, and halves of two pairs share two groups.
    """
    return [
        tuple(group for group in range(GROUPS) if (row & group).bit_count() % 2 == odd)
        for row in range(1, pairs + 1)
        for odd in (0, 1)
    ]


def interval(whole: Tensor, by_half: Tensor, by_quarter: Tensor) -> tuple[Tensor, Tensor]:
    """95 % interval of what very many images would give: figures (...), (R, ...), (Q, ...).

    ``by_half`` are pairs of complements. As many degrees of freedom as pairs: the second of two
    complements adds little, where a figure is nearly a sum over images.
    """
    trend = (by_quarter.mean(0) - by_half.mean(0)) / 2
    margin = _QUANTILES[len(by_half) // 2 - 1] * by_half.std(0)
    return whole - trend - margin, whole - trend + margin
