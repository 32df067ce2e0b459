"""Intervals over images of figures that are available for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pytest_pan.stats import subsamples
from pytest_pan.stats.odds import LEVEL, REPLICATES, basic_interval, quantile

Interval = tuple[float, float]


def of_mean(values: Tensor, *, seed: int, within: Interval) -> Interval:
    """Return the 95 % bootstrap interval of the mean of values (N,), which lie ``within`` a range.

    Resampling cannot show values that did not occur. So if all values are equal, the interval
    allows for an unseen fraction (:func:`max_unseen_share`) of values at either end of the range.
    """
    exact = values.double()
    least, most = float(exact.min()), float(exact.max())
    if least == most:
        share = max_unseen_share(len(values))
        return least - share * (least - within[0]), most + share * (within[1] - most)
    return _interval(len(values), seed, lambda drawn: float(drawn @ exact / drawn.sum()))


def max_unseen_share(images: int) -> float:
    """Return the upper bound on the probability of an event that occurred in none of the images.

    This is the end of the 95 % Clopper-Pearson interval for zero successes.
    """
    return float(1 - ((1 - LEVEL) / 2) ** (1 / images))


def trend_of_quantile(values: Tensor, groups: Tensor, share: float) -> Interval:
    """Return the 95 % interval of an extreme quantile: values (N,), groups of the images (N,).

    Uses subsamples as for counts (:mod:`pytest_pan.stats.subsamples`), because bootstrap samples
    repeat the largest values and never exceed them.
    """

    def figures(plan: list[subsamples.Subsample]) -> Tensor:
        chosen = [values[torch.isin(groups, torch.tensor(part))] for part in plan]
        found = [quantile(subsample.double(), share) for subsample in chosen]
        return torch.tensor(found, dtype=torch.float64)

    whole = torch.tensor(quantile(values.double(), share), dtype=torch.float64)
    ends = subsamples.interval(whole, figures(subsamples.halves()), figures(subsamples.quarters()))
    return float(ends[0]), float(ends[1])


def of_largest_sum(values: Tensor, *, seed: int) -> Interval:
    """Return the 95 % interval of the largest of L sums over images: values (L, N) in [0, 1].

    This is the basic bootstrap interval (:func:`pytest_pan.stats.odds.basic_interval`), cut off at
    0. If all values are 0, it ends at the bound by :func:`max_unseen_share`.
    """
    exact, images = values.double(), values.shape[1]
    if not exact.any():
        return 0.0, max_unseen_share(images) * images
    found = [
        float((exact @ drawn).max() / drawn.sum() * images) for drawn in _weights(images, seed)
    ]
    low, high = basic_interval(float(exact.sum(1).max()), torch.tensor(found, dtype=torch.float64))
    return max(low, 0.0), max(high, 0.0)


def _interval(images: int, seed: int, figure: Callable[[Tensor], float]) -> Interval:
    found = torch.tensor([figure(drawn) for drawn in _weights(images, seed)], dtype=torch.float64)
    tail = (1 - LEVEL) / 2
    ends = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def _weights(images: int, seed: int) -> Iterator[Tensor]:
    """Yield the bootstrap weights of one replicate at a time, (images,) float64.

    The same seed gives the same weights, so that figures of several plans stay paired. A replicate
    without images is drawn again.
    """
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(images, dtype=torch.float64)
    made = 0
    while made < REPLICATES:
        drawn = torch.poisson(ones, generator=generator)
        if drawn.sum() > 0:
            made += 1
            yield drawn
