"""Images of the red-green test: two boxes side by side on a black canvas."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CANVAS = 32
BOX = 4
SHIFT = 16
"""Rows by which the dissimilar test moves the boxes: down in class 0, up in class 1."""
_TOPS = ((3, 10), (19, 26))
"""First and last top row of the boxes, by class: their four rows lie in 3-13 and 19-29."""
_COLUMNS = np.array([(a, b) for a in range(29) for b in range(a + BOX, CANVAS - BOX + 1)])
"""Left columns of the left and of the right box: all pairs that do not overlap."""


def draw(count: int, seed: np.random.SeedSequence, *, dissimilar: bool) -> tuple[Tensor, Tensor]:
    """Draw ``count`` images (N, 3, 32, 32) from 0 to 1 and their classes (N,), half of each class.

    Class 0 has the red box on the left, class 1 the green one. Rows are uniform over those of the
    class, columns uniform over all pairs of columns where the boxes do not overlap.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 2)
    low, high = np.array(_TOPS)[labels].T
    tops = random.integers(low, high, endpoint=True)
    if dissimilar:
        tops = tops + np.where(labels == 0, SHIFT, -SHIFT)
    columns = _COLUMNS[random.integers(len(_COLUMNS), size=count)]
    images = np.zeros((count, 3, CANVAS, CANVAS), dtype=np.float32)
    for image, label, top, lefts in zip(images, labels, tops, columns, strict=True):
        for colour, left in zip((label, 1 - label), lefts, strict=True):
            image[colour, top : top + BOX, left : left + BOX] = 1
    return torch.from_numpy(images), torch.from_numpy(labels)
