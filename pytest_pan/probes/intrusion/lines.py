"""Insertion of a line of zeros into images, and its position in the feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_pan.probes.intrusion.records import Axis

POSITIONS = (0.25, 0.5, 0.75)
SIDES_OF: dict[Axis, str] = {"row": "TB", "column": "LR"}
_DIMS: dict[Axis, int] = {"row": 2, "column": 3}
LINES: tuple[tuple[Axis, float], ...] = tuple((axis, at) for axis in SIDES_OF for at in POSITIONS)
"""All inserted lines, in the order of the findings."""


@dataclass(frozen=True, slots=True)
class ZeroLine:
    """Input transform of a pass that inserts a line of zeros."""

    axis: Axis
    position: float

    @property
    def name(self) -> str:
        return f"zero {self.axis} at {self.position}"

    def __call__(self, images: Tensor) -> Tensor:
        return insert(images, self.axis, self.position)

    def strip(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Return three lines of a map, centred on the inserted one.

        (N, C, H, W) -> (N, C, 3, W) or (N, C, H, 3). ``size`` is (H, W) of the images.
        """
        dim = _DIMS[self.axis]
        return maps.narrow(dim, _first_line(self.position, size[dim - 2], maps.shape[dim]), 3)


def insert(images: Tensor, axis: Axis, position: float) -> Tensor:
    """Insert a line of zeros into images: (N, C, H, W) -> (N, C, H, W).

    The line is inserted at ``floor(position * size)`` without overwriting any other. Lines from
    there on shift by one, and the last line is dropped, so that the size stays the same.
    """
    dim = _DIMS[axis]
    size = images.shape[dim]
    at = int(position * size)
    before, after = images.narrow(dim, 0, at), images.narrow(dim, at, size - at - 1)
    return torch.cat([before, torch.zeros_like(images.narrow(dim, 0, 1)), after], dim)


def _first_line(position: float, size: int, map: int) -> int:
    """Return the index of the first of the three map lines examined around the inserted line.

    The middle one has the same relative position in the map as the inserted line in the image.
    """
    return int(position * size) * map // size - 1


def too_small(map: Sequence[int], image: Sequence[int]) -> str:
    """Return why a map is too small for the lines, or an empty string. Both sizes are (H, W).

    Border lines are excluded because a PAN fires there regardless of the image. A site is examined
    at all positions or at none, so that the shares at all positions refer to the same neurons.
    """
    for axis, position in LINES:
        dim = _DIMS[axis] - 2
        first = _first_line(position, image[dim], map[dim])
        if first < 1 or first + 2 > map[dim] - 2:
            return f"map {map[0]}x{map[1]} too small: an inserted line would touch its border"
    return ""
