"""Class odds and sample influence, streamed in float64 over any number of images.

Odds(c) is the sum over images of the class's probability under a plan over the same sum of the
original network (PAN section 4.1); the bootstrap weighs each image by a Poisson(1) draw, the same
for every plan, so that the sums stream and merge and the plans stay paired.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import torch
from torch import Tensor

REPLICATES = 200
LEVEL = 0.95
_LEAST = torch.finfo(torch.float64).tiny


def weights(images: int, generator: torch.Generator) -> Tensor:
    """Bootstrap weights, a row a replicate: (REPLICATES, images) float64 Poisson(1) draws.

    Drawn image by image, so that an image's weights do not depend on its batch.
    """
    ones = torch.ones(images, REPLICATES, dtype=torch.float64)
    return torch.poisson(ones, generator=generator).T


@dataclass
class ClassSums:
    """Sums of probabilities by class: once as they are, and once a bootstrap replicate."""

    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    replicates: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def add(self, probabilities: Tensor, drawn: Tensor) -> None:
        """Takes a batch: probabilities (N, K), bootstrap weights (REPLICATES, N)."""
        values = probabilities.detach().to("cpu", torch.float64)
        if not len(self.total):
            self.total = values.new_zeros(values.shape[1])
            self.replicates = values.new_zeros(len(drawn), values.shape[1])
        self.total += values.sum(0)
        self.replicates += drawn @ values


def log_odds(plan: ClassSums, original: ClassSums) -> Tensor:
    """Natural logarithm of the odds, one a class: (K,).

    Finite always: a sum too small for float64 counts as the smallest there is, 2.2e-308.
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


def shifted_interval(plan: ClassSums, original: ClassSums, threshold: float) -> tuple[float, float]:
    """Bootstrap interval of the number of classes whose |log-odds| exceed a threshold."""
    counts = (_log_ratio(plan.replicates, original.replicates).abs() > threshold).sum(1).double()
    tail = (1 - LEVEL) / 2
    ends = torch.quantile(counts, torch.tensor([tail, 1 - tail], dtype=torch.float64))
    return float(ends[0]), float(ends[1])


def _log_ratio(above: Tensor, below: Tensor) -> Tensor:
    return above.clamp(min=_LEAST).log() - below.clamp(min=_LEAST).log()


@dataclass
class Affected:
    """Every image's distance between two outputs, and the most affected few with their data."""

    keep: int = 12
    distances: list[float] = field(default_factory=list)
    _heap: list[tuple[float, int, object]] = field(default_factory=list)

    def add(self, index: int, distance: float, data: object) -> None:
        """One image; among equals the earlier one stays."""
        self.distances.append(distance)
        entry = (distance, -index, data)
        if len(self._heap) < self.keep:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def would_keep(self, index: int, distance: float) -> bool:
        """Whether an image would be among the most affected: its data need not be made else."""
        return len(self._heap) < self.keep or (distance, -index) > self._heap[0][:2]

    def most(self) -> list[tuple[int, float, object]]:
        """(index, distance, data), the most affected first."""
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return [(-index, distance, data) for distance, index, data in ordered]

    def quantile(self, share: float) -> float:
        """Quantile of the distances, linear between neighbours; 0 for no image."""
        if not self.distances:
            return 0.0
        values = torch.tensor(self.distances, dtype=torch.float64)
        return float(torch.quantile(values, share))
