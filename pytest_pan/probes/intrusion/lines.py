"""Images with a line of zeros inserted, and where that line lies in a map."""

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
"""Every line that is tried, in the order of the findings."""


@dataclass(frozen=True, slots=True)
class ZeroLine:
    """The inputs of a pass: images with a line of zeros."""

    axis: Axis
    position: float

    @property
    def name(self) -> str:
        return f"zero {self.axis} at {self.position}"

    def __call__(self, images: Tensor) -> Tensor:
        return insert(images, self.axis, self.position)

    def strip(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Cut three lines out of a map, the inserted one in the middle: (N, C, H, W) ->
        (N, C, 3, W) or (N, C, H, 3). ``size``: (H, W) of the images.
        """
        dim = _DIMS[self.axis]
        return maps.narrow(dim, _first_line(self.position, size[dim - 2], maps.shape[dim]), 3)


def insert(images: Tensor, axis: Axis, position: float) -> Tensor:
    """Images with a line of zeros put in: (N, C, H, W) -> (N, C, H, W).

    The line is *inserted*, nothing is overwritten: it takes the place ``floor(position * size)``,
    what was there and beyond moves on by one, and the last line drops out, so the size stays.
    """
    dim = _DIMS[axis]
    size = images.shape[dim]
    at = int(position * size)
    before, after = images.narrow(dim, 0, at), images.narrow(dim, at, size - at - 1)
    return torch.cat([before, torch.zeros_like(images.narrow(dim, 0, 1)), after], dim)


def _first_line(position: float, size: int, map: int) -> int:
    """The first of the three map lines in which the inserted one is looked for.

    The middle one lies at the same share of the map as the line does of the image.
    """
    return int(position * size) * map // size - 1


def too_small(map: Sequence[int], image: Sequence[int]) -> str:
    """Why a map has no room for the lines; empty if it has. Both (H, W).

    On a border line a PAN fires whatever is inside the image; and a site is asked at all positions
    or at none, so that the shares of all of them are of the same neurons.
    """
    for axis, position in LINES:
        dim = _DIMS[axis] - 2
        first = _first_line(position, image[dim], map[dim])
        if first < 1 or first + 2 > map[dim] - 2:
            return f"map {map[0]}x{map[1]} too small: a line inside it lies beside its border"
    return ""
