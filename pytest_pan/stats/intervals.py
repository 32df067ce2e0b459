"""Bootstrap intervals over images of figures that are kept image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pytest_pan.stats import subsamples
from pytest_pan.stats.odds import LEVEL, REPLICATES, basic_interval, quantile

Interval = tuple[float, float]


def of_mean(values: Tensor, *, seed: int, within: Interval) -> Interval:
    """95 % interval of the mean: values (N,) ``within`` two ends, weighed by Poisson(1) draws.

    Resampling shows no value that the images did not: where all are the same, ends are those of
    a mean where one value more in so many could have been the other extreme (:func:`unseen`).
    """
    exact = values.double()
    least, most = float(exact.min()), float(exact.max())
    if least == most:
        share = unseen(len(values))
        return least - share * (least - within[0]), most + share * (within[1] - most)
    return _interval(len(values), seed, lambda drawn: float(drawn @ exact / drawn.sum()))


def unseen(images: int) -> float:
    """The share of all images that may do what none of so many did: Clopper and Pearson's 95 %
    interval of a binomial share, at no success, ends there.
    """
    return float(1 - ((1 - LEVEL) / 2) ** (1 / images))


def trend_of_quantile(values: Tensor, groups: Tensor, share: float) -> Interval:
    """95 % interval of a quantile far out, of which few images tell: values and groups (N,).

    By subsamples, as for counts (:mod:`pytest_pan.stats.subsamples`): resampled images repeat the
    largest values there are, and never go beyond.
    """

    def figures(plan: list[subsamples.Subsample]) -> Tensor:
        chosen = [values[torch.isin(groups, torch.tensor(part))] for part in plan]
        found = [quantile(some.double(), share) for some in chosen]
        return torch.tensor(found, dtype=torch.float64)

    whole = torch.tensor(quantile(values.double(), share), dtype=torch.float64)
    ends = subsamples.interval(whole, figures(subsamples.halves()), figures(subsamples.quarters()))
    return float(ends[0]), float(ends[1])


def of_largest_sum(values: Tensor, *, seed: int) -> Interval:
    """95 % interval of the largest of several sums over as many images: values (L, N), 0 to 1.

    The basic bootstrap interval (:func:`pytest_pan.stats.odds.basic_interval`), not below 0;
    where all are 0, up to what :func:`unseen` allows.
    """
    exact, images = values.double(), values.shape[1]
    if not exact.any():
        return 0.0, unseen(images) * images
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
    """A replicate's weights at a time, (images,) float64: the memory is that of one.

    The same seed weighs the same images alike, so figures of several plans stay paired. A
    replicate that drew nobody is drawn again.
    """
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(images, dtype=torch.float64)
    made = 0
    while made < REPLICATES:
        drawn = torch.poisson(ones, generator=generator)
        if drawn.sum() > 0:
            made += 1
            yield drawn
