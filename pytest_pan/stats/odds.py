"""Class odds and sample influence, streamed in float64 over any number of images.

Odds(c) is the sum over images of the class's probability under a plan over the same sum of the
original network (PAN section 4.1); the bootstrap weighs each image by a Poisson(1) draw, the same
for every plan, so that the sums stream and merge and the plans stay paired.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pytest_pan.stats import subsamples

REPLICATES = 200
LEVEL = 0.95
_STRIDE = 1_000_003
"""Between the seeds' series, so that images of neighbouring seeds share no draws."""
_FOLDS, _BITS = 4, 30
_LEAST = 2.0 ** -(_FOLDS * _BITS)


def weights(first: int, images: int, seed: int) -> Tensor:
    """Bootstrap weights, a row a replicate: (REPLICATES, images) float64 Poisson(1) draws.

    ``first`` is the number of the first image. Each image has draws of its own, which depend on
    its number and the seed only: not on its batch, nor on the process that sees it.
    """
    drawn, generator = torch.ones(images, REPLICATES, dtype=torch.float64), torch.Generator()
    for place, ones in enumerate(drawn):
        generator.manual_seed((seed * _STRIDE + first + place) % 2**63)
        ones.copy_(torch.poisson(ones, generator=generator))
    return drawn.T


class ClassSums:
    """Sums of probabilities by class: once as they are, and once a bootstrap replicate.

    The sums are exact, so they are the same in any order, batches and number of processes: each
    probability is cut into parts of 30 bits, and parts of one kind add up without rounding, over
    eight million images. What lies below 2^-120 is left out.
    """

    def __init__(self) -> None:
        self._total = self._replicates = torch.zeros(0, dtype=torch.float64)
        self._classes = 0

    def add(self, probabilities: Tensor, drawn: Tensor) -> None:
        """Takes a batch: probabilities (N, K), bootstrap weights (REPLICATES, N), and below them
        where subsamples are wanted who is in which group: (GROUPS, N) of 0 and 1.
        """
        parts = _parts(probabilities.detach().to("cpu", torch.float64))
        if not self:
            self._classes = probabilities.shape[1]
            self._total = parts.new_zeros(parts.shape[1])
            self._replicates = parts.new_zeros(len(drawn), parts.shape[1])
        self._total += parts.sum(0)
        self._replicates += drawn @ parts

    def merge(self, other: ClassSums) -> None:
        """Adds the sums of other images."""
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
        """(K,) float64."""
        return self._whole(self._total)

    @property
    def replicates(self) -> Tensor:
        """(REPLICATES, K) float64."""
        return self._whole(self._replicates[:REPLICATES])

    @property
    def groups(self) -> Tensor:
        """(GROUPS, K) float64."""
        return self._whole(self._replicates[REPLICATES:])

    def _whole(self, parts: Tensor) -> Tensor:
        whole = torch.zeros_like(parts[..., : self._classes])
        for part in reversed(parts.split(self._classes, dim=-1)):
            whole = whole + part
        return whole


def _parts(values: Tensor) -> Tensor:
    """Values from 0 to 1 cut into multiples of 2^-30, 2^-60, ...: (N, K) -> (N, FOLDS K)."""
    parts = []
    for place in range(1, _FOLDS + 1):
        unit = 2.0 ** (_BITS * place)
        parts.append((values * unit).round() / unit)
        values = values - parts[-1]
    return torch.cat(parts, 1)


def log_odds(plan: ClassSums, original: ClassSums) -> Tensor:
    """Natural logarithm of the odds, one a class: (K,).

    Finite always: a sum below 2^-120, which says nothing, counts as that.
    """
    return _log_ratio(plan.total, original.total)


def log_odds_interval(plan: ClassSums, original: ClassSums) -> tuple[Tensor, Tensor]:
    """Ends of the bootstrap interval of each class's log-odds: (K,) twice.

    A replicate that drew no image, as happens with a handful of them, says 0.
    """
    drawn = _log_ratio(plan.replicates, original.replicates)
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.quantile(drawn, ends, dim=0)
    return low, high


def largest(plan: ClassSums, original: ClassSums) -> list[Tensor]:
    """The largest |log-odds| of any class: of all images (), of halves (R,), of quarters (Q,)."""
    return [ratios.abs().amax(-1) for ratios in _by_subsample(plan, original)]


def shifted(plan: ClassSums, original: ClassSums, threshold: float) -> list[Tensor]:
    """Classes whose |log-odds| exceed a threshold: of all images, of halves, of quarters."""
    return [(r.abs() > threshold).sum(-1).double() for r in _by_subsample(plan, original)]


def _by_subsample(plan: ClassSums, original: ClassSums) -> list[Tensor]:
    """Log-odds of all images (K,), of halves (R, K), of quarters (Q, K)."""
    found = [log_odds(plan, original)]
    for parts in (subsamples.halves(), subsamples.quarters()):
        sums = [subsamples.unions(each.groups, parts) for each in (plan, original)]
        found.append(_log_ratio(*sums))
    return found


def basic_interval(value: float, replicates: Tensor) -> tuple[float, float]:
    """The basic bootstrap interval, which ends as far below a figure as replicates lie above it.

    For the largest of many: noise lifts it, in the figure as in each replicate once more, so that
    the replicates' own quantiles would lie too high by twice that.
    """
    tail = (1 - LEVEL) / 2
    ends = torch.quantile(replicates, torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return 2 * value - float(ends[1]), 2 * value - float(ends[0])


def _log_ratio(above: Tensor, below: Tensor) -> Tensor:
    return above.clamp(min=_LEAST).log() - below.clamp(min=_LEAST).log()


@dataclass
class Affected:
    """Every image's distance between two outputs, by number; the most affected few with data."""

    keep: int = 12
    distances: dict[int, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, object]] = field(default_factory=list)

    def add(self, index: int, distance: float, data: object) -> None:
        """One image; among equals the earlier one stays."""
        self.distances[index] = distance
        self._consider((distance, -index, data))

    def _consider(self, entry: tuple[float, int, object]) -> None:
        if len(self._heap) < self.keep:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def would_keep(self, index: int, distance: float) -> bool:
        """Whether an image would be among the most affected: its data need not be made else."""
        entry = distance, -index
        return len(self._heap) < self.keep or entry > self._heap[0][:2]

    def merge(self, other: Affected) -> None:
        """Adds other images."""
        self.distances |= other.distances
        for entry in other._heap:
            self._consider(entry)

    def most(self) -> list[tuple[int, float, object]]:
        """(index, distance, data), the most affected first."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [(-index, distance, data) for distance, index, data in ordered]

    def in_order(self) -> Tensor:
        """The distances in the order of the images: (N,) float64."""
        values = [distance for _, distance in sorted(self.distances.items())]
        return torch.tensor(values, dtype=torch.float64)

    def quantile(self, share: float) -> float:
        """Quantile of the distances, linear between neighbours; 0 for no image."""
        if not self.distances:
            return 0.0
        return quantile(self.in_order(), share)


def quantile(values: Tensor, share: float) -> float:
    """Linear between neighbours, for any number of values: torch's stops at 16 million."""
    return float(np.quantile(values.numpy(), share))
