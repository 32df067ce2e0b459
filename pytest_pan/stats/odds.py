"""Class odds and sample influence, accumulated in float64 over any number of images.

Odds(c) is the sum over images of the class's probability under a plan, divided by the same sum for
the original network (PAN section 4.1). A class's *support* is the latter sum: how many images'
worth of probability it has. Sums are kept by group of images, so that every figure is also known on
subsamples (:mod:`pytest_pan.stats.subsamples`), which all plans share.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pytest_pan.stats import subsamples
from pytest_pan.stats.subsamples import Figures

_FOLDS, _BITS = 4, 30
LEAST_SUM = 1e-30
"""Sum of a class's probabilities over all images below which it has no odds."""
_LEAST = 2.0 ** -(_FOLDS * _BITS)


class ClassSums:
    """Sums of class probabilities by group of images.

    The sums are exact, hence independent of order, batches and number of processes: each
    probability is split into parts of 30 bits, and equal parts are summed without rounding for up
    to eight million images. Bits below 2^-120 are dropped.
    """

    def __init__(self) -> None:
        self._parts = torch.zeros(subsamples.GROUPS, 0, dtype=torch.float64)
        self._classes = 0

    def add(self, probabilities: Tensor, groups: Tensor) -> None:
        """Add a batch: probabilities (N, K), groups of its images (N,) int."""
        parts = _parts(probabilities.detach().to("cpu", torch.float64))
        if not self:
            self._classes = probabilities.shape[1]
            self._parts = parts.new_zeros(subsamples.GROUPS, parts.shape[1])
        self._parts += one_hot(groups, subsamples.GROUPS).T.to(parts.dtype) @ parts

    def merge(self, other: ClassSums) -> None:
        """Add the sums of other images."""
        if not self:
            self._classes, self._parts = other._classes, other._parts
        elif other:
            self._parts = self._parts + other._parts

    def __bool__(self) -> bool:
        return bool(self._classes)

    @property
    def total(self) -> Tensor:
        """Sum over all images: (K,) float64."""
        return self._whole(self._parts.sum(0))

    @property
    def groups(self) -> Tensor:
        """Sums by group: (GROUPS, K) float64."""
        return self._whole(self._parts)

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


class Odds:
    """Log-odds of every class and its support, on all images and on subsamples of them."""

    def __init__(self, plan: ClassSums, original: ClassSums) -> None:
        unknown = torch.minimum(plan.total, original.total) < LEAST_SUM
        self._support = Figures.of_sums(original.groups)
        above, below = Figures.of_sums(plan.groups), self._support
        self._ratios = above.combined(below, lambda a, b: _log_ratio(a, b, unknown))

    @property
    def values(self) -> Tensor:
        """Natural logarithm of the odds: (K,).

        NaN for classes that all images together give a probability below :data:`LEAST_SUM`, under
        the plan or originally: rounding decides their odds.
        """
        return self._ratios.whole

    @property
    def intervals(self) -> tuple[Tensor, Tensor]:
        """Ends of the 95 % interval of each class's log-odds: (K,) twice."""
        return subsamples.interval(self._ratios)

    def largest(self, support: float) -> Figures:
        """Return the largest |log-odds| of a class with at least that much support: ()."""

        def figure(ratios: Tensor, sums: Tensor) -> Tensor:
            sizes = ratios.abs().nan_to_num(0)
            return torch.where(sums >= support, sizes, 0).amax(-1)

        return self._ratios.combined(self._support, figure)

    def mean(self) -> Figures:
        """Return the mean |log-odds| of all classes, weighted by their support: ()."""

        def figure(ratios: Tensor, sums: Tensor) -> Tensor:
            known = torch.where(ratios.isnan(), 0, sums)
            return (ratios.abs().nan_to_num(0) * known).sum(-1) / known.sum(-1).clamp(min=_LEAST)

        return self._ratios.combined(self._support, figure)


def _log_ratio(above: Tensor, below: Tensor, unknown: Tensor) -> Tensor:
    ratio = above.clamp(min=_LEAST).log() - below.clamp(min=_LEAST).log()
    return ratio.masked_fill(unknown, math.nan)


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
