"""Counting of a site's maps between edges on the CPU, compiled by numba.

A lookup table, built once per site, gives a position close to each value's slot. Counts are
accumulated in place, so that the cost of a batch does not depend on the number of slots.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_pan.stats.binned import starts
from pytest_pan.stats.threads import share_out

Array = NDArray[Any]

WORTHWHILE = 1 << 17
"""Number of edges of a site from which compiled code is used."""
_PARTS = 2
"""Table entries per edge."""
_TAIL = 64
"""The table omits 1/_TAIL of the edges at either end, since long tails would thin it out."""


def worthwhile(edges: Tensor) -> bool:
    """Return whether compiled code pays off for a site with these edges (C, E)."""
    known = edges.device.type == "cpu" and edges.dtype in (torch.float32, torch.float64)
    return known and edges.numel() >= WORTHWHILE and starts()


class Lookup:
    """Lookup tables for the edges (C, E) of one site."""

    def __init__(self, edges: Tensor) -> None:
        self._edges = edges.contiguous().numpy()
        channels, count = self._edges.shape
        kind = self._edges.dtype.type
        tail = count // _TAIL
        self._low = self._edges[:, tail].copy()
        with np.errstate(all="ignore"):
            step = kind(_PARTS * count) / (self._edges[:, -1 - tail] - self._low)
        self._step = np.where(np.isfinite(step) & (step > 0), step, 0).astype(kind)
        self._starts = np.empty((channels, _PARTS * count + 3), np.uint16)
        _kernels()[0](self._edges, self._low, self._step, self._starts)

    def count(self, maps: Tensor, counts: Tensor, rings: Tensor, coarse: int) -> Tensor:
        """Add maps (N, C, H, W) to ``counts`` and ``rings``; return non-finite channels: (C,) bool.

        ``counts`` (5, C, E + 1) are those of the top, bottom, left and right lines and the centre.
        ``rings`` (4 D, C, K + 1) are those of the four lines at distances 1 to D, between every
        ``coarse``-th edge.
        """
        values = maps.to(torch.from_numpy(self._edges).dtype).contiguous().numpy()
        channels = len(self._edges)
        bad = np.zeros(channels, np.bool_)

        def work(share: tuple[int, int]) -> None:
            _kernels()[1](
                values,
                self._edges,
                self._low,
                self._step,
                self._starts,
                counts.numpy(),
                rings.numpy(),
                coarse,
                bad,
                share[0],
                share[1],
            )

        share_out(work, channels)
        return torch.from_numpy(bad)


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    from pytest_pan.stats.kernels import kept_on_disk

    return kept_on_disk(table), kept_on_disk(tally)


def table(edges: Array, low: Array, step: Array, starts: Array) -> None:
    """Fill ``starts[c, p]`` with the number of edges in parts before ``p`` of the range."""
    kind = step.dtype.type
    parts = starts.shape[1] - 1
    top = kind(parts)
    for c in range(edges.shape[0]):
        at = 0
        for e in range(edges.shape[1]):
            offset = (edges[c, e] - low[c]) * step[c] + kind(1)
            part = np.int32(max(kind(0), offset if offset < top else top))
            while at <= part:
                starts[c, at] = e
                at += 1
        while at <= parts:
            starts[c, at] = edges.shape[1]
            at += 1


def tally(
    values: Array,
    edges: Array,
    low: Array,
    step: Array,
    starts: Array,
    counts: Array,
    rings: Array,
    coarse: int,
    bad: Array,
    first: int,
    last: int,
) -> None:
    """Count the channels from ``first`` (inclusive) to ``last`` (exclusive).

    The part is a non-decreasing function of the value, rounding included. So the edges at or below
    a value are all edges in earlier parts and some in its own, which a search determines.
    """
    kind = step.dtype.type
    images, _, height, width = values.shape
    parts = starts.shape[1]
    top = kind(parts - 1)
    size = np.int32(edges.shape[1])
    slots = np.empty(height * width, np.int32)
    for c in range(first, last):
        least, scale = low[c], step[c]
        for image in range(images):
            plane = values[image, c].ravel()
            for i in range(plane.size):
                offset = (plane[i] - least) * scale + kind(1)
                # not min(): NaN must not become an index
                slots[i] = np.int32(max(kind(0), offset if offset < top else top))
            for i in range(plane.size):
                value, part = plane[i], slots[i]
                slot = np.int32(starts[c, part])
                after = np.int32(starts[c, part + 1]) if part + 1 < parts else size
                while slot < after:  # heavy tails put many edges into one part
                    middle = (slot + after) >> 1
                    if edges[c, middle] <= value:
                        slot = middle + 1
                    else:
                        after = middle
                slots[i] = slot
                if value - value != 0:
                    bad[c] = True
            for x in range(width):
                counts[0, c, slots[x]] += 1
                counts[1, c, slots[(height - 1) * width + x]] += 1
            for y in range(height):
                counts[2, c, slots[y * width]] += 1
                counts[3, c, slots[y * width + width - 1]] += 1
            for y in range(1, height - 1):
                for x in range(1, width - 1):
                    counts[4, c, slots[y * width + x]] += 1
            for ring in range(0, rings.shape[0], 4):
                away = 1 + ring // 4
                for x in range(width):
                    up = slots[away * width + x]
                    down = slots[(height - 1 - away) * width + x]
                    rings[ring, c, (up + coarse - 1) // coarse] += 1
                    rings[ring + 1, c, (down + coarse - 1) // coarse] += 1
                for y in range(height):
                    left = slots[y * width + away]
                    right = slots[y * width + width - 1 - away]
                    rings[ring + 2, c, (left + coarse - 1) // coarse] += 1
                    rings[ring + 3, c, (right + coarse - 1) // coarse] += 1
