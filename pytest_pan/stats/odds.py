"""Class odds and sample influence, accumulated in float64 over any number of images.

Odds(c) is the sum over images of the class's probability under a plan, divided by the same sum for
the original network (PAN section 4.1). The bootstrap weights each image by a Poisson(1) draw, the
same for every plan, so that the sums can be streamed and merged and the plans stay paired.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pytest_pan.stats import subsamples

REPLICATES = 200
LEVEL = 0.95
_STRIDE = 1_000_003
"""Offset between the generator seeds of neighbouring seeds, so that they share no draws."""
_FOLDS, _BITS = 4, 30
LEAST_SUM = 1e-30
"""Sum of a class's probabilities over all images below which it has no odds."""
_LEAST = 2.0 ** -(_FOLDS * _BITS)


def weights(first: int, images: int, seed: int) -> Tensor:
    """Draw bootstrap weights: (REPLICATES, images) float64 Poisson(1) draws.

    ``first`` is the index of the first image. An image's draws depend only on its index and the
    seed, not on its batch or process.
    """
    drawn, generator = torch.ones(images, REPLICATES, dtype=torch.float64), torch.Generator()
    for place, ones in enumerate(drawn):
        generator.manual_seed((seed * _STRIDE + first + place) % 2**63)
        ones.copy_(torch.poisson(ones, generator=generator))
    return drawn.T


class ClassSums:
    """Sums of class probabilities, unweighted and for each bootstrap replicate.

    The sums are exact, hence independent of order, batches and number of processes: each
    probability is split into parts of 30 bits, and equal parts are summed without rounding for up
    to eight million images. Bits below 2^-120 are dropped.
    """

    def __init__(self) -> None:
        self._total = self._replicates = torch.zeros(0, dtype=torch.float64)
        self._classes = 0

    def add(self, probabilities: Tensor, drawn: Tensor) -> None:
        """Add a batch: probabilities (N, K), bootstrap weights (REPLICATES, N).

        For subsamples, append group membership to the weights: (GROUPS, N) of 0 and 1.
        """
        parts = _parts(probabilities.detach().to("cpu", torch.float64))
        if not self:
            self._classes = probabilities.shape[1]
            self._total = parts.new_zeros(parts.shape[1])
            self._replicates = parts.new_zeros(len(drawn), parts.shape[1])
        self._total += parts.sum(0)
        self._replicates += drawn @ parts

    def merge(self, other: ClassSums) -> None:
        """Add the sums of other images."""
        if not self:
            self._classes = other._classes
            self._total, self._replicates = other._total, other._replicates
        elif other:
            self._total = self._total + other._total
            self._replicates = self._replicates + other._replicates

    def __bool__(self) -> bool:
        return bool(self._classes)

    @property
    def total(self) -> Tensor:
        """Sum over all images: (K,) float64."""
        return self._whole(self._total)

    @property
    def replicates(self) -> Tensor:
        """Weighted sums: (REPLICATES, K) float64."""
        return self._whole(self._replicates[:REPLICATES])

    @property
    def groups(self) -> Tensor:
        """Sums by group: (GROUPS, K) float64."""
        return self._whole(self._replicates[REPLICATES:])

    def _whole(self, parts: Tensor) -> Tensor:
        whole = torch.zeros_like(parts[..., : self._classes])
        for part in reversed(parts.split(self._classes, dim=-1)):
            whole = whole + part
        return whole


def _parts(values: Tensor) -> Tensor:
    """Split values in [0, 1] into multiples of 2^-30, 2^-60, ...: (N, K) -> (N, FOLDS K)."""
    parts = []
    for place in range(1, _FOLDS + 1):
        unit = 2.0 ** (_BITS * place)
        parts.append((values * unit).round() / unit)
        values = values - parts[-1]
    return torch.cat(parts, 1)


def log_odds(plan: ClassSums, original: ClassSums) -> Tensor:
    """Return the natural logarithm of the odds: (K,).

    NaN for classes that all images together give a probability below :data:`LEAST_SUM`, under the
    plan or originally: rounding decides their odds.
    """
    return _log_ratio(plan.total, original.total).masked_fill(_unknown(plan, original), math.nan)


def _unknown(plan: ClassSums, original: ClassSums) -> Tensor:
    """Return which classes have no odds: (K,) bool."""
    return torch.minimum(plan.total, original.total) < LEAST_SUM


def log_odds_interval(plan: ClassSums, original: ClassSums) -> tuple[Tensor, Tensor]:
    """Return the ends of the bootstrap interval of each class's log-odds: (K,) twice.

    A replicate without images, which happens if there are only a few, counts as 0.
    """
    drawn = _log_ratio(plan.replicates, original.replicates)
    drawn = drawn.masked_fill(_unknown(plan, original), math.nan)
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.quantile(drawn, ends, dim=0)
    return low, high


def largest(plan: ClassSums, original: ClassSums) -> list[Tensor]:
    """Return the largest |log-odds| of any class: on all images (), halves (R,), quarters (Q,)."""
    return [ratios.abs().nan_to_num(0).amax(-1) for ratios in _by_subsample(plan, original)]


def shifted(plan: ClassSums, original: ClassSums, threshold: float) -> list[Tensor]:
    """Count classes with |log-odds| above a threshold: on all images, halves and quarters."""
    return [(r.abs() > threshold).sum(-1).double() for r in _by_subsample(plan, original)]


def _by_subsample(plan: ClassSums, original: ClassSums) -> list[Tensor]:
    """Return the log-odds on all images (K,), halves (R, K) and quarters (Q, K)."""
    found = [log_odds(plan, original)]
    for parts in (subsamples.halves(), subsamples.quarters()):
        sums = [subsamples.sum_groups(each.groups, parts) for each in (plan, original)]
        found.append(_log_ratio(*sums).masked_fill(_unknown(plan, original), math.nan))
    return found


def basic_interval(value: float, replicates: Tensor) -> tuple[float, float]:
    """Return the basic bootstrap interval: the replicates' quantiles, reflected at the value.

    Used for the largest of many figures. Noise biases it upwards, once in the value and again in
    each replicate, so that percentile intervals would be too high by twice the bias.
    """
    tail = (1 - LEVEL) / 2
    ends = torch.quantile(replicates, torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return 2 * value - float(ends[1]), 2 * value - float(ends[0])


def _log_ratio(above: Tensor, below: Tensor) -> Tensor:
    return above.clamp(min=_LEAST).log() - below.clamp(min=_LEAST).log()


@dataclass
class Affected:
    """Distance between the two outputs of each image; extra data of the most affected images."""

    keep: int = 12
    distances: dict[int, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, object]] = field(default_factory=list)

    def add(self, index: int, distance: float, data: object) -> None:
        """Add an image; on ties the earlier one ranks first."""
        self.distances[index] = distance
        self._consider((distance, -index, data))

    def _consider(self, entry: tuple[float, int, object]) -> None:
        if len(self._heap) < self.keep:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def would_keep(self, index: int, distance: float) -> bool:
        """Return whether an image is among the most affected so far, so that its data is needed."""
        entry = distance, -index
        return len(self._heap) < self.keep or entry > self._heap[0][:2]

    def merge(self, other: Affected) -> None:
        """Add other images."""
        self.distances |= other.distances
        for entry in other._heap:
            self._consider(entry)

    def most(self) -> list[tuple[int, float, object]]:
        """Return (index, distance, data) of the most affected images, in decreasing order."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [(-index, distance, data) for distance, index, data in ordered]

    def in_order(self) -> Tensor:
        """Return the distances in image order: (N,) float64."""
        values = [distance for _, distance in sorted(self.distances.items())]
        return torch.tensor(values, dtype=torch.float64)

    def quantile(self, share: float) -> float:
        """Return a quantile of the distances; 0 without images."""
        if not self.distances:
            return 0.0
        return quantile(self.in_order(), share)


def quantile(values: Tensor, share: float) -> float:
    """Return a linearly interpolated quantile; torch's is limited to 16 million values."""
    return float(np.quantile(values.numpy(), share))
