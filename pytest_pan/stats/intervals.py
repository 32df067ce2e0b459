"""95 % intervals over images of figures that are known for each image.

Every function takes the number of the unit of sampling that each image belongs to: crops of one
photograph are one unit, and an image by itself is one.
"""

from __future__ import annotations

import math

import numpy as np
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


def of_signed_mean(values: Tensor, units: Tensor, *, means: int = 1) -> Interval:
    """Return Student's interval of the mean of values of any sign: (N,), units (N,).

    ``means``: how many intervals are to hold at once (Bonferroni).
    """
    mean, error, count = _mean_and_error(values.double(), units)
    spread = _student(count, means) * error
    return mean - spread, mean + spread


def of_least_mean(values: Tensor, units: Tensor) -> Interval:
    """Return the interval of the least of K means: values (N, K), units (N,).

    That of each mean is wide enough for all K to hold at once; then the least one lies between the
    least of the lower and the least of the upper ends.
    """
    ends = [of_signed_mean(each, units, means=values.shape[1]) for each in values.T]
    return min(low for low, _ in ends), min(high for _, high in ends)


def of_share(values: Tensor, units: Tensor) -> Interval:
    """Return the interval of a share of images: values (N,) of 0 and 1, units (N,).

    Clopper and Pearson's, of as many independent images as give the same standard error (Korn and
    Graubard 1998). It has no width nowhere: what no image shows is not excluded.
    """
    images = _independent(values.double(), units)
    return of_proportion(float(values.double().mean()) * images, images)


def of_proportion(ones: float, images: float) -> Interval:
    """Return Clopper and Pearson's interval of a proportion; the numbers need not be whole."""
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


def of_quantile(values: Tensor, units: Tensor, share: float) -> Interval | None:
    """Return the interval of a quantile between two of the values: (N,), units (N,).

    The number of images above the quantile is binomial whatever the distribution of the values
    (order statistics; Conover 1999, section 3.2), of as many independent images as give the same
    standard error. None where these are too few for an upper end: below 368 for the 99th
    percentile.
    """
    ordered = values.double().sort().values
    above = (ordered > quantile(ordered, share)).double()
    images = math.floor(_independent(above, units[values.argsort()]))
    at_most = special.bdtr(np.arange(images + 1), images, share)
    low, high = np.searchsorted(at_most, [_TAIL, 1 - _TAIL]).tolist()
    if not low or high >= images:
        return None
    first, last = (low - 1) * len(values) // images, -(-high * len(values) // images)
    return float(ordered[first]), float(ordered[min(last, len(values) - 1)])


def of_largest_sum(values: Tensor, units: Tensor, *, seed: int) -> Interval:
    """Return the interval of the largest of L sums over images: values (L, N) in [0, 1].

    Uses subsamples, whose sums are scaled to all images. The largest of several noisy sums shrinks
    as the noise does. If all values are 0, it ends at the bound
    by :func:`max_unseen_share`.
    """
    exact, images = values.double(), values.shape[1]
    if not exact.any():
        return 0.0, max_unseen_share(len(units.unique())) * images
    groups = subsamples.group_of(units, seed)
    member = (groups == torch.arange(subsamples.GROUPS)[:, None]).double()
    sums, counts = Figures.of_sums(member @ exact.T), Figures.of_sums(member.sum(1))
    scaled = sums.combined(counts, lambda a, b: (a / b[..., None]).amax(-1) * images)
    low, high = subsamples.interval(scaled, power=0.5)
    return max(float(low), 0.0), min(float(high), float(images))


def _student(count: int, means: int = 1) -> float:
    """Return the quantile of Student's t for the intervals of means of so many values."""
    return float(special.stdtrit(max(count - 1, 1), 1 - _TAIL / means))


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
