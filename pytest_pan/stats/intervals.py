"""95 % intervals over images of figures that are known for each image.

Every function takes the number of the unit of sampling that each image belongs to: crops of one
photograph are one unit, and an image by itself is one.
"""

from __future__ import annotations

import math

import torch
from scipy import special
from torch import Tensor

from pytest_pan.stats import subsamples
from pytest_pan.stats.odds import quantile
from pytest_pan.stats.subsamples import Figures

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2

Interval = tuple[float, float]


def of_mean(values: Tensor, units: Tensor) -> Interval:
    """Return the interval of the mean of values that are not negative: (N,), units (N,).

    Student's interval of the mean's logarithm (delta method): for skewed values it holds more often
    than that of the mean, and it never reaches below 0. If all values are 0 it ends at
    :func:`max_unseen_share`, as if they were at most 1.
    """
    mean, error, count = _mean_and_error(values.double(), units)
    if not mean:
        return 0.0, max_unseen_share(count)
    spread = _student(count) * error / mean
    return mean * math.exp(-spread), mean * math.exp(min(spread, 700.0))


def of_share(values: Tensor, units: Tensor) -> Interval:
    """Return the interval of a share of images: values (N,) of 0 and 1, units (N,).

    Clopper and Pearson's, of as many independent images as give the same standard error (Korn and
    Graubard 1998). It has no width nowhere: what no image shows is not excluded.
    """
    share, images = float(values.double().mean()), _independent(values.double(), units)
    ones = share * images
    low = float(special.betaincinv(ones, images - ones + 1, _TAIL)) if ones > 0 else 0.0
    high = float(special.betaincinv(ones + 1, images - ones, 1 - _TAIL)) if ones < images else 1.0
    return low, high


def of_difference(values: Tensor, units: Tensor) -> Interval:
    """Return the interval of a difference of two paired shares: values (N,) of -1, 0 and 1.

    Wald's, with half an image added to each of the four outcomes (Agresti and Min 2005), of as many
    independent images as give the same standard error.
    """
    exact = values.double()
    images = _independent(exact, units)
    gained, lost = (float((exact == sign).double().mean()) * images for sign in (1, -1))
    total = images + 2
    middle = (gained - lost) / total
    variance = (gained + lost + 1 - (gained - lost) ** 2 / total) / total**2
    margin = _student(len(units.unique())) * math.sqrt(variance)
    return max(middle - margin, -1.0), min(middle + margin, 1.0)


def max_unseen_share(images: int) -> float:
    """Return the upper bound on the probability of an event that occurred in none of the images.

    This is the end of the 95 % Clopper-Pearson interval for zero successes.
    """
    return float(1 - _TAIL ** (1 / images))


def of_quantile(values: Tensor, groups: Tensor, share: float) -> Interval:
    """Return the interval of an extreme quantile: values (N,), groups of the images (N,).

    Uses subsamples (:mod:`pytest_pan.stats.subsamples`), because bootstrap samples repeat the
    largest values and never exceed them.
    """

    def figures(plan: list[subsamples.Subsample]) -> Tensor:
        chosen = [values[torch.isin(groups, torch.tensor(part))] for part in plan]
        found = [quantile(subsample.double(), share) for subsample in chosen]
        return torch.tensor(found, dtype=torch.float64)

    whole = torch.tensor(quantile(values.double(), share), dtype=torch.float64)
    by_half, by_quarter = figures(subsamples.halves()), figures(subsamples.quarters())
    low, high = subsamples.interval(Figures(whole, by_half, by_quarter))
    return float(low), float(high)


def of_largest_sum(values: Tensor, units: Tensor, *, seed: int) -> Interval:
    """Return the interval of the largest of L sums over images: values (L, N) in [0, 1].

    Uses subsamples, whose sums are scaled to all images. If all values are 0, it ends at the bound
    by :func:`max_unseen_share`.
    """
    exact, images = values.double(), values.shape[1]
    if not exact.any():
        return 0.0, max_unseen_share(len(units.unique())) * images
    groups = subsamples.group_of(units, seed)
    member = (groups == torch.arange(subsamples.GROUPS)[:, None]).double()
    sums, counts = Figures.of_sums(member @ exact.T), Figures.of_sums(member.sum(1))
    scaled = sums.combined(counts, lambda a, b: (a / b[..., None]).amax(-1) * images)
    low, high = subsamples.interval(scaled)
    return max(float(low), 0.0), min(float(high), float(images))


def _student(count: int) -> float:
    """Return the quantile of Student's t for the interval of the mean of so many values."""
    return float(special.stdtrit(max(count - 1, 1), 1 - _TAIL))


def _mean_and_error(values: Tensor, units: Tensor) -> tuple[float, float, int]:
    """Return the mean over images, its standard error over units, and the number of units."""
    _, of_unit = units.unique(return_inverse=True)
    count = int(of_unit.max()) + 1
    mean = float(values.mean())
    sums = torch.zeros(count, dtype=torch.float64).index_add(0, of_unit, values - mean)
    factor = count / (count - 1) if count > 1 else math.inf
    return mean, math.sqrt(float(sums.square().sum()) * factor) / len(values), count


def _independent(values: Tensor, units: Tensor) -> float:
    """Return how many independent images give the standard error that these have.

    At most their number, at least that of the units. The ratio of Student's quantiles accounts for
    few units. If all values are equal there is no error to compare: the number of units.
    """
    mean, error, count = _mean_and_error(values, units)
    images = len(values)
    if images == count:
        return float(images)
    spread = float((values - mean).square().mean())
    if not spread or not error or count < 2:
        return float(count)
    alike = spread / error**2 + 1
    found = alike * (_student(images) / _student(count)) ** 2
    return min(max(found, float(count)), float(images))
