"""Small objects at 5x5 places of an empty image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.probes.blind_spots.records import CELLS

LEAST_SHARE, MOST_SHARE = 0.25, 0.65
"""Sides of the object relative to the image's, between which a step that keeps the total stride is
taken: the object is about 3/7 as large as the image."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Places along rows or columns: from one end of the image to the other."""

    side: int
    """Pixels of the object."""
    step: int
    """Pixels between neighbouring places."""
    is_whole: bool
    """Whether the step is a multiple of the total stride."""

    @classmethod
    def of(cls, pixels: int, stride: int) -> Axis:
        """Return the places of an object of about 3/7 of the image's pixels."""
        step = max(round(pixels / 7 / stride), 1) * stride
        side = pixels - (CELLS - 1) * step
        if LEAST_SHARE * pixels <= side <= MOST_SHARE * pixels:
            return cls(side, step, True)
        step = max(round(pixels / 7), 1)
        return cls(max(pixels - (CELLS - 1) * step, 1), step, step % stride == 0)


@dataclass(frozen=True, slots=True)
class Places:
    """The grid of places, by row and column."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, size: tuple[int, int], stride: int) -> Places:
        """Return the places in an image of height and width, for a total stride."""
        return cls(Axis.of(size[0], stride), Axis.of(size[1], stride))

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the object."""
        return self.rows.side, self.columns.side

    def corner(self, cell: int) -> tuple[int, int]:
        """Return the top and left pixel of the object at a cell, counted by row."""
        return cell // CELLS * self.rows.step, cell % CELLS * self.columns.step

    def stimuli(self, image: Tensor, colour: Tensor) -> Tensor:
        """Return an image (C, H, W), made small, at every place of a canvas of a colour (C,).

        (CELLS * CELLS, C, H, W).
        """
        small = F.interpolate(
            image[None], self.side, mode="bilinear", align_corners=False, antialias=True
        )[0]
        canvas = colour[None, :, None, None].expand(CELLS * CELLS, *image.shape).clone()
        for cell in range(CELLS * CELLS):
            top, left = self.corner(cell)
            canvas[cell, :, top : top + self.side[0], left : left + self.side[1]] = small
        return canvas


def outer() -> Tensor:
    """Return which of the cells lie at the border of the grid: (CELLS * CELLS,) bool."""
    at_end = torch.zeros(CELLS, dtype=torch.bool)
    at_end[[0, -1]] = True
    return (at_end[:, None] | at_end[None]).flatten()
