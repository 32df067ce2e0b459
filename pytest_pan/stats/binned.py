"""The exact statistics of :mod:`pytest_pan.stats.ks` without sorting, on the CPU, by numba.

A channel's values are counted in slots, which cut the range of its border values into equal parts.
Between two slots both distribution functions are known, and so is each statistic's gap there. In a
slot they are known to lie between their values at its two ends, which bounds the gaps inside. Only
a slot whose bound exceeds the largest gap found between slots can hold the supremum. There are few
of those, and the values in them are looked at one by one.

The slot of a value never falls as the value grows, rounding included, and border and centre values
are treated alike. So every count is exact, and the statistics are those of the sort bit for bit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_pan.stats import kernels
from pytest_pan.stats.ks import KS, TooFewCentreValuesError, sort_rows, sorted_statistics

_WORTH_A_THREAD = 1 << 16
_BLOCK_BYTES = 1 << 20  # the two passes over a block of channels find it in the cache
_SCRATCH = 4096
_COMPARISONS = 32  # a centre value; a sort is no dearer
_INTEGERS: dict[Any, tuple[Any, int]] = {
    np.dtype(np.float32): (np.int32, 0x7F800000),
    np.dtype(np.float64): (np.int64, 0x7FF0000000000000),
}

Array = NDArray[Any]


WORTHWHILE = 1 << 26
"""Values of an audit from which numba's import and the kernels' start, 0.6 s, are made up for."""


def installed() -> bool:
    """Whether numba is there; it is not imported."""
    return importlib.util.find_spec("numba") is not None


def worthwhile(values: int, like: Tensor) -> bool:
    """Whether so many values, all told and of this kind, are better counted than sorted."""
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    return known and values >= WORTHWHILE and installed()


def binned_statistics(batches: Sequence[Tensor]) -> tuple[KS, Tensor]:
    """KS, KS+ and KS- of each channel's outermost rows and columns against the rest.

    ``batches`` are maps (N, C, H, W), float32 or float64, on the CPU, at least 3 x 3. The sides
    are top, bottom, left and right, corners shared: statistics (4, C). Also returned is which
    channels hold finite values only, (C,) bool; the statistics of the others mean nothing. Raises
    :class:`TooFewCentreValuesError` as the sort does.
    """
    maps = [batch.detach().contiguous().numpy() for batch in batches]
    site = _Site.of(maps)
    if site.m < site.lengths.max():
        raise TooFewCentreValuesError(f"{site.m} centre values for {site.lengths.max()}")
    channels = maps[0].shape[1]
    starts = iter(range(0, channels, site.block))
    workers = min(torch.get_num_threads(), -(-channels // site.block))
    if workers > 1 and channels * site.m > _WORTH_A_THREAD:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(site.work, [starts] * workers))
    else:
        site.work(starts)
    ks = _divided(site)
    left = torch.from_numpy(site.finite & site.unsettled).nonzero().flatten()
    if len(left):
        for ours, theirs in zip(ks, _by_sorting(batches, left), strict=True):
            ours[:, left] = theirs
    return ks, torch.from_numpy(site.finite)


def _divided(site: _Site) -> KS:
    gaps = torch.from_numpy(site.best).permute(2, 1, 0).double()
    n = torch.from_numpy(site.lengths)[:, None]
    return KS(gaps[0] / (n * site.m), gaps[1] / n, gaps[2] / n)


def _by_sorting(batches: Sequence[Tensor], channels: Tensor) -> KS:
    some = [batch.detach()[:, channels].transpose(0, 1) for batch in batches]
    lines = [[one[:, :, 0], one[:, :, -1], one[:, :, :, 0], one[:, :, :, -1]] for one in some]
    borders = [torch.cat(line, 1).flatten(1) for line in zip(*lines, strict=True)]
    centre = torch.cat([one[:, :, 1:-1, 1:-1] for one in some], 1).flatten(1)
    return sorted_statistics([sort_rows(b) for b in borders], sort_rows(centre, in_place=True))


@dataclass
class _Site:
    """The maps of one site as the kernels take them, and what they find, channel by channel."""

    maps: list[Array]
    """(N, C, H W) each."""
    width: int
    m: int
    """Centre values of a channel."""
    lengths: Array
    """Border values of a channel by side."""
    best: Array
    """Gaps by channel and side, (C, 4, 3), as counts: KS times n m, KS+ and KS- times n."""
    finite: Array
    unsettled: Array
    """Channels that need the sort: one value only, or too many in one slot."""

    @classmethod
    def of(cls, maps: list[Array]) -> _Site:
        images = sum(len(batch) for batch in maps)
        _, channels, height, width = maps[0].shape
        return cls(
            maps=[batch.reshape(len(batch), channels, -1) for batch in maps],
            width=width,
            m=images * (height - 2) * (width - 2),
            lengths=images * np.array([width, width, height, height], dtype=np.int64),
            best=np.zeros((channels, 4, 3), dtype=np.int64),
            finite=np.zeros(channels, dtype=bool),
            unsettled=np.zeros(channels, dtype=bool),
        )

    @property
    def slots(self) -> int:
        """Into how many slots the range of the border values is cut."""
        return min(max(1 << (self.m // 8).bit_length(), 64), 8192)

    @property
    def block(self) -> int:
        """How many channels are worked on at a time."""
        a_channel = sum(batch[:, 0].size for batch in self.maps) * self.maps[0].itemsize
        return max(1, _BLOCK_BYTES // a_channel)

    def work(self, starts: Iterator[int]) -> None:
        """Works on blocks until none is left; several threads may share the starts."""
        channels = self.maps[0].shape[1]
        scratch = _Scratch.of(self)
        for first in starts:
            block = slice(first, min(first + self.block, channels))
            self._count(block, scratch)

    def _count(self, block: slice, at: _Scratch) -> None:
        run, count = _compiled(), block.stop - block.start
        kind = self.maps[0].dtype
        integer, infinity = _INTEGERS[kind]
        magnitude = np.iinfo(integer).max
        lowest, highest = np.full(count, np.inf, kind), np.full(count, -np.inf, kind)
        largest = np.zeros(count, integer)
        for batch in self.maps:
            run.extremes(batch, self.width, block.start, lowest, highest)
        with np.errstate(all="ignore"):
            scale = kind.type(self.slots - 2.5) / (highest - lowest)
        usable = np.isfinite(scale) & (scale > 0)
        scale[~usable] = 0
        centre, border = at.centre[:count], at.border[:count]
        centre[:], border[:] = 0, 0
        for batch in self.maps:
            run.count(
                batch,
                batch.view(integer),
                integer(magnitude),
                self.width,
                block.start,
                lowest,
                scale,
                at.rows,
                centre,
                border,
                largest,
            )
        self.finite[block] = finite = largest < infinity
        best, lengths, usable = self.best[block], self.lengths, usable & finite
        centre_at, border_at = at.centre_at[:count], at.border_at[:count]
        found, some, others = run.choose(
            centre,
            border,
            usable,
            lengths,
            self.m,
            best,
            centre_at,
            border_at,
            at.marks,
            at.sums,
            at.table,
        )
        kept, kept_border = np.empty(some, kind), np.empty(others, kind)
        for batch in self.maps:
            run.collect(
                batch,
                self.width,
                block.start,
                lowest,
                scale,
                usable,
                at.rows,
                centre_at,
                border_at,
                kept,
                kept_border,
            )
        work = np.full(count, _COMPARISONS * self.m, dtype=np.int64)
        run.settle(at.table[:found], lengths, self.m, kept, kept_border, best, work)
        self.unsettled[block] = ~usable | (work < 0)


@dataclass
class _Scratch:
    """Memory of one thread, for a block of channels at a time."""

    rows: Array
    centre: Array
    border: Array
    centre_at: Array
    border_at: Array
    marks: Array
    sums: Array
    table: Array

    @classmethod
    def of(cls, site: _Site) -> _Scratch:
        channels, slots = min(site.block, site.maps[0].shape[1]), site.slots
        size = site.maps[0].shape[2]
        held = min(max(1, _SCRATCH // site.width) * site.width, size)
        return cls(
            rows=np.empty(held, np.uint32),
            centre=np.empty((channels, slots), np.int32),
            border=np.empty((channels, 4, slots), np.int32),
            centre_at=np.empty((channels, slots), np.int32),
            border_at=np.empty((channels, 4, slots), np.int32),
            marks=np.empty(slots, np.uint8),
            sums=np.empty((5, slots // kernels.GROUP + 1), np.int64),
            table=np.empty((channels * slots * 4, kernels.COLUMNS), np.int64),
        )


@dataclass(frozen=True)
class _Compiled:
    extremes: Callable[..., None]
    count: Callable[..., None]
    choose: Callable[..., tuple[int, int, int]]
    collect: Callable[..., None]
    settle: Callable[..., None]


def compiled(kernel: Callable[..., Any]) -> Any:
    """The kernel by numba, which lets go of the interpreter lock while it runs."""
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # no folder to keep it in
        return njit(nogil=True)(kernel)


@cache
def _compiled() -> _Compiled:
    """The kernels, compiled when first called and kept on disk where that can be."""
    return _Compiled(
        extremes=compiled(kernels.extremes),
        count=compiled(kernels.count),
        choose=compiled(kernels.choose),
        collect=compiled(kernels.collect),
        settle=compiled(kernels.settle),
    )
