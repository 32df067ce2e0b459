"""Targets of the read-out, and how well predictions agree with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

SIDE = 28
"""Rows and columns of the targets, as in PosENet."""

_STRIPES = 2.5
"""Periods of the stripes."""

_CONSTANT = 1e-4
"""Deviation of a prediction, relative to the target's, below which it is constant."""


def target_maps() -> Tensor:
    """Return the targets H, V, G, HS, VS at the cells' centres, in [0, 1]: (5, 28, 28) float64.

    Column, row, a Gaussian around the centre whose deviation is half the size, and stripes along
    both axes (PosENet, section 3).
    """
    centres = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    gaussian = torch.exp(-((x - 0.5).square() + (y - 0.5).square()) / (2 * 0.5**2))
    stripes = [0.5 + 0.5 * torch.sin(2 * math.pi * _STRIPES * axis) for axis in (x, y)]
    return torch.stack([x, y, gaussian, *stripes])


def resized(maps: Tensor) -> Tensor:
    """Return maps (N, C, H, W) resized to the targets' cells: (N, C, 784), never a view."""
    size = (SIDE, SIDE)
    return F.interpolate(maps, size, mode="bilinear", align_corners=False).flatten(2)


def patches(images: Tensor) -> Tensor:
    """Return the 3x3 patches of resized images: (N, C, H, W) -> (N, 9 C, 784).

    The border is replicated: zeros around the image would tell the position.
    """
    small = resized(images).unflatten(2, (SIDE, SIDE))
    return F.unfold(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of predictions with the targets, by image and target: each (N, T) float64."""

    spc: Tensor
    mae: Tensor
    constant: Tensor
    """Whether the prediction is constant; its rank correlation is 0 then."""


def agreement(predicted: Tensor, targets: Tensor) -> Agreement:
    """Compare predictions (N, T, cells) with targets (T, cells)."""
    predicted, targets = predicted.cpu().double(), targets.cpu().double()
    is_constant = ~(predicted.std(2) >= _CONSTANT * targets.std(1))
    spc = spearman(predicted, targets).masked_fill(is_constant, 0)
    error = (predicted.clamp(0, 1) - targets).abs().mean(2)
    return Agreement(spc, error, is_constant)


def spearman(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return the rank correlation over cells, equal values sharing ranks: (N, T, cells) -> (N, T).

    NaN where all values are equal.
    """
    ours, theirs = (
        torch.from_numpy(rankdata(each.numpy(), axis=-1).astype(np.float64))
        for each in (predicted, targets)
    )
    ours, theirs = ours - ours.mean(-1, keepdim=True), theirs - theirs.mean(-1, keepdim=True)
    return (ours * theirs).sum(-1) / (ours.square().sum(-1) * theirs.square().sum(-1)).sqrt()
