"""Counting between edges on the CPU, compiled by numba: a table leads near each value's slot."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_pan.stats.binned import installed

Array = NDArray[Any]

WORTHWHILE = 1 << 20
"""Values of one call from which compiled code is used."""
_CHUNK = 4096


def worthwhile(values: Tensor) -> bool:
    """Whether so many values of this kind are better looked up than searched for."""
    known = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    return known and values.numel() >= WORTHWHILE and installed()


def looked_up(values: Tensor, edges: Tensor) -> Tensor:
    """What :func:`pytest_pan.stats.counts.between` gives: (C, m), (C, E) -> (C, E + 1) int64."""
    rows, sorted_edges = values.contiguous().numpy(), edges.contiguous().numpy()
    channels, count = sorted_edges.shape
    found = np.zeros((channels, count + 1), np.int64)
    workers = max(1, min(torch.get_num_threads(), channels))
    blocks = [
        (int(part[0]), int(part[-1]) + 1) for part in np.array_split(range(channels), workers)
    ]
    with np.errstate(all="ignore"):
        scale = (2 * count) / (sorted_edges[:, -1] - sorted_edges[:, 0])
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 0).astype(rows.dtype)
    run = _kernel()

    def work(block: tuple[int, int]) -> None:
        starts = np.empty(2 * count + 3, np.int32)
        run(rows, sorted_edges, scale, starts, np.empty(_CHUNK, np.int32), found, *block)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, blocks))
    return torch.from_numpy(found)


@cache
def _kernel() -> Callable[..., None]:
    from pytest_pan.stats.kernels import kept_on_disk  # imports numba

    return kept_on_disk(count)


def count(
    values: Array,
    edges: Array,
    scale: Array,
    starts: Array,
    places: Array,
    found: Array,
    first: int,
    last: int,
) -> None:
    """Counts the channels from ``first`` to before ``last`` into ``found``.

    The range of the edges is cut into equal parts; ``starts`` tells how many edges lie in parts
    before each. A value's part never falls as the value grows, rounding included, so the edges at
    or below it are those, and some of its own part's, which are compared one by one.
    """
    kind = scale.dtype.type
    parts = starts.size - 1
    top = kind(parts)
    size = edges.shape[1]
    chunk = places.size
    for c in range(first, last):
        low, step = edges[c, 0], scale[c]
        at = 0
        for e in range(size):
            offset = (edges[c, e] - low) * step + kind(1)
            part = np.int32(max(kind(0), offset if offset < top else top))
            while at <= part:
                starts[at] = e
                at += 1
        while at <= parts:
            starts[at] = size
            at += 1
        row = values[c]
        for begin in range(0, row.size, chunk):
            held = min(chunk, row.size - begin)
            for i in range(held):
                offset = (row[begin + i] - low) * step + kind(1)
                # not a minimum: what is not a number must not become a place
                places[i] = np.int32(max(kind(0), offset if offset < top else top))
            for i in range(held):
                value = row[begin + i]
                slot = starts[places[i]]
                while slot < size and edges[c, slot] <= value:
                    slot += 1
                found[c, slot] += 1
