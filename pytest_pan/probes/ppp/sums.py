"""Sums over images from which the PPP of a layer follows, by group of images.

D = A - O: A are the features with padding, O those with true surroundings. The formulas are this
project's: ``mae`` is the mean of |E D| over channels and cells in units of sd, where sd^2 is the
mean over channels of Var(O_c) over images and cells; ``snr`` is 10 log10 of
(sum E[D]^2 - sum Var[D] / N) / sum Var[D], with N - 1 in Var and sums over channels and cells.
Without the correction the ratio of noise alone would be 1 / N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pytest_pan.stats.subsamples import Figures

_MOST = 100.0
"""Decibels of a pattern that is the same in all images but for rounding."""


@dataclass
class Surroundings:
    """Sums of the features with true surroundings: (G, C) each, float64."""

    total: Tensor
    squares: Tensor
    cells: int = 0
    """Cells of a map."""

    @classmethod
    def empty(cls, groups: int, channels: int) -> Self:
        total = torch.zeros(groups, channels, dtype=torch.float64)
        return cls(total, total.clone())

    def add(self, maps: Tensor, groups: Tensor) -> None:
        """Add features (N, C, h, w) of images that are in these groups (N,)."""
        values = maps.double().flatten(2)
        self.cells = values.shape[2]
        self.total.index_add_(0, groups, values.sum(2).cpu())
        self.squares.index_add_(0, groups, values.square().sum(2).cpu())


@dataclass
class Difference:
    """Sums of D, by group: maps (G, C, h, w), and squares over all channels and cells (G,)."""

    maps: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, groups: int, shape: torch.Size) -> Self:
        """``shape`` is that of the maps, (N, C, h, w)."""
        maps = torch.zeros(groups, *shape[1:], dtype=torch.float64)
        return cls(maps, torch.zeros(groups, dtype=torch.float64))

    def add(self, padded: Tensor, true: Tensor, groups: Tensor) -> None:
        """Add A and O (N, C, h, w) of images that are in these groups (N,)."""
        apart = (padded.double() - true.double()).cpu()
        self.maps.index_add_(0, groups, apart)
        self.squares.index_add_(0, groups, apart.square().flatten(1).sum(1))


@dataclass(frozen=True, slots=True)
class Ppp:
    """PPP of sums over some images."""

    mae: float
    snr: float
    """Minus infinity below the noise."""


def ppp(maps: Tensor, squares: float, count: int, sd: float) -> Ppp:
    """Return the PPP of ``count`` images: sums of D (C, h, w), and of all its squares."""
    mean = maps / count
    mae = float(mean.abs().mean()) / sd if sd else 0.0
    power = float(mean.square().sum())
    noise = max((squares - count * power) / (count - 1), 0.0) if count > 1 else 0.0
    pattern = power - noise / count
    if pattern <= 0:
        return Ppp(mae, -math.inf)
    decibels = 10 * math.log10(pattern / noise) if noise else _MOST
    return Ppp(mae, min(decibels, _MOST))


def deviation(total: Tensor, squares: Tensor, cells: int) -> float:
    """Return sd of channels whose sums (C,) go over so many cells of all images."""
    variance = squares / cells - (total / cells).square()
    return math.sqrt(max(float(variance.mean()), 0.0))


@dataclass(frozen=True, slots=True)
class Layerwise:
    """PPP of a layer on all images, and on halves and quarters of them if they are in groups."""

    whole: Ppp
    mean: Tensor
    """|E D| over channels in units of sd: (h, w)."""
    halves: tuple[Ppp, ...] = ()
    quarters: tuple[Ppp, ...] = ()


def layerwise(true: Surroundings, apart: Difference, counts: Tensor, *, splits: bool) -> Layerwise:
    """Return the PPP of a layer; ``counts`` are images by group (G,), eight groups to split."""
    count = int(counts.sum())
    sd = deviation(true.total.sum(0), true.squares.sum(0), count * true.cells)
    summed = apart.maps.sum(0)
    whole = ppp(summed, float(apart.squares.sum()), count, sd)
    mean = (summed / count).abs().mean(0) / (sd or 1.0)
    if not splits:
        return Layerwise(whole, mean)
    parts = [Figures.of_sums(each) for each in (apart.squares, counts.double())]
    spread = [Figures.of_sums(each) for each in (true.total, true.squares)]
    maps = Figures.of_sums(apart.maps)

    def of(name: str) -> tuple[Ppp, ...]:
        squares, counted, total, second, each = (
            getattr(figures, name) for figures in (*parts, *spread, maps)
        )
        return tuple(
            ppp(
                each[k],
                float(squares[k]),
                int(counted[k]),
                deviation(total[k], second[k], int(counted[k]) * true.cells),
            )
            for k in range(len(each))
        )

    return Layerwise(whole, mean, of("halves"), of("quarters"))
