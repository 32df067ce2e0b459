"""Numba kernels of :mod:`pytest_pan.stats.binned`. Importing this module imports numba.

:func:`examine` processes a share of a site's channels in one call, block by block: a thread that
returned to Python in between would wait for the other threads. The other functions are its steps.
They take maps (N, C, H W) and work on the K channels of a block, starting at ``first``.

The compiler vectorises loops over a slice from its start, but not reductions of floats, which would
change the order of arithmetic. The compilation cache is renewed when this file changes; after
editing only ``suprema.py``, delete it (``__pycache__/*.nbi``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pytest_pan.stats.suprema import GROUP, Slots, choose, settle

Array = NDArray[Any]

_SCRATCH = 4096
"""Values of a map whose slots are computed at a time; at least one row."""


class Block(NamedTuple):
    """Values per channel of the current block."""

    lowest: Array
    """Minimum of the border values; ``highest`` is their maximum."""
    highest: Array
    scale: Array
    """Slots per unit."""
    usable: Array
    """Whether all values are finite and slots can separate them."""
    zero: Array
    """Slot that holds only the value 0, which after a ReLU may fill most of a channel."""
    largest: Array
    """Largest magnitude as an integer with the same bits, in which NaN exceeds infinity."""


def kept_on_disk(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call, and cache the result on disk if possible."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        return njit(**options)(function)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """Convert an address to a pointer: numba takes arrays at addresses, not lists of arrays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.intp), generate


@kept_on_disk
def examine(
    batches: tuple[Array, Array],
    likes: tuple[Array, Array],
    shape: tuple[int, int, int],
    share: tuple[int, int],
    cut: tuple[int, int],
    lengths: Array,
    m: int,
    least: Array,
    best: Array,
    finite: Array,
    unsettled: Array,
) -> None:
    """Fill best (C, 4, 3), finite (C,) and unsettled (C,) for a share of the channels.

    ``best`` may be too small for channels whose labels are already decided by ``least`` (4, 3).

    ``batches`` holds the addresses of contiguous maps and their numbers of images. ``likes`` holds
    empty arrays of the maps' type and of integers of that size. ``shape`` is (C, H, W). ``cut`` is
    the number of channels per block, and of slots. ``lengths`` (4,) and ``m`` are the numbers of
    border and centre values of a channel.
    """
    (addresses, images), (like, bits_like) = batches, likes
    channels, height, width = shape
    size, (block, count) = height * width, cut
    kind, infinity = like.dtype.type, np.full(1, np.inf, like.dtype).view(bits_like.dtype)[0]
    row = np.empty(min(max(1, _SCRATCH // width) * width, size), np.uint32)
    centre, border = np.empty((block, count), np.int32), np.empty((block, 4, count), np.int32)
    marks, sums = np.empty(count, np.uint8), np.empty((5, count // GROUP + 1), np.int64)
    table = np.empty((block * count * 4, 8), np.int64)
    at = Slots(
        row, centre, border, np.empty_like(centre), np.empty_like(border), marks, sums, table
    )
    for first in range(share[0], share[1], block):
        held = min(block, share[1] - first)
        these = Block(
            np.full(held, np.inf, like.dtype),
            np.full(held, -np.inf, like.dtype),
            np.empty(held, like.dtype),
            np.empty(held, np.bool_),
            np.empty(held, np.int32),
            np.zeros(held, bits_like.dtype),
        )
        for b in range(len(images)):
            maps = carray(_pointer(addresses[b]), (images[b], channels, size), like.dtype)
            _extremes(maps, width, first, these)
        for k in range(held):
            times = kind(count - 4.5) / (these.highest[k] - these.lowest[k])
            if (
                these.highest[k] == these.lowest[k]
            ):  # constant values, as in a dead channel: any slot will do
                times = kind(1)
            these.usable[k] = np.isfinite(times) and times > 0
            these.scale[k] = times if these.usable[k] else kind(0)
            f = max((kind(0) - these.lowest[k]) * these.scale[k] + kind(1), kind(0))
            these.zero[k] = np.int32(min(f, kind(count - 3))) + 1
        centre[:], border[:] = 0, 0
        for b in range(len(images)):
            shape_here = images[b], channels, size
            maps = carray(_pointer(addresses[b]), shape_here, like.dtype)
            bits = carray(_pointer(addresses[b]), shape_here, bits_like.dtype)
            _count(maps, bits, width, first, these, at)
        for k in range(held):
            finite[first + k] = these.largest[k] < infinity
            these.usable[k] = these.usable[k] and finite[first + k]
        gaps, crowded = best[first : first + held], np.zeros(held, np.bool_)
        wanted = these.usable.copy()
        rows, some, others = choose(wanted, these.zero, lengths, m, least, gaps, at)
        kept, kept_border = np.empty(some, like.dtype), np.empty(others, like.dtype)
        for b in range(len(images)):
            maps = carray(_pointer(addresses[b]), (images[b], channels, size), like.dtype)
            _collect(maps, width, first, these, wanted, at, kept, kept_border)
        settle(table[:rows], lengths, m, kept, kept_border, gaps, crowded)
        for k in range(held):
            unsettled[first + k] = crowded[k] or not these.usable[k]


@njit(nogil=True, error_model="numpy")
def _extremes(maps: Array, width: int, first: int, these: Block) -> None:
    """Widens each channel's range to hold its outermost ring."""
    lowest, highest = these.lowest, these.highest
    size = maps.shape[2]
    for k in range(len(lowest)):
        low, high = lowest[k], highest[k]
        for image in range(len(maps)):
            one = maps[image, first + k]
            for value in one[:width]:
                low = min(low, value)
                high = max(high, value)
            for value in one[size - width :]:
                low = min(low, value)
                high = max(high, value)
            for left in range(width, size - width, width):
                low = min(low, one[left], one[left + width - 1])
                high = max(high, one[left], one[left + width - 1])
        lowest[k], highest[k] = low, high


@njit(nogil=True, error_model="numpy")
def _count(maps: Array, bits: Array, width: int, first: int, these: Block, at: Slots) -> None:
    """Add the maps' values to the counts; ``bits`` are the same maps viewed as integers."""
    slots, centre, border = at.row, at.centre, at.border
    lowest, scale, largest = these.lowest, these.scale, these.largest
    magnitude = np.iinfo(bits.dtype).max  # all bits but the sign
    size = maps.shape[2]
    kind, integer = maps.dtype.type, bits.dtype.type
    one, zero, top = kind(1), kind(0), kind(centre.shape[1] - 3)
    for k in range(len(lowest)):
        low, times, most = lowest[k], scale[k], largest[k]
        inner, rim = centre[k], border[k]
        for image in range(len(maps)):
            for start in range(0, size, len(slots)):
                values = maps[image, first + k, start : start + len(slots)]
                patterns = bits[image, first + k, start : start + len(slots)]
                for i in range(len(values)):
                    f = (values[i] - low) * times + one
                    f = f if f > zero else zero  # also maps NaN to 0
                    slots[i] = np.int32(min(f, top)) + (values[i] >= zero) + (values[i] > zero)
                for i in range(len(values)):
                    pattern = integer(patterns[i] & magnitude)
                    most = pattern if pattern > most else most
                for left in range(0, len(values), width):
                    row = slots[left : left + width]
                    if start + left == 0:
                        for slot in row:
                            rim[0, slot] += 1
                    elif start + left + width == size:
                        for slot in row:
                            rim[1, slot] += 1
                    else:
                        for slot in row[1 : width - 1]:
                            inner[slot] += 1
                    rim[2, row[0]] += 1
                    rim[3, row[width - 1]] += 1
        largest[k] = most


@njit(nogil=True, error_model="numpy")
def _collect(
    maps: Array,
    width: int,
    first: int,
    these: Block,
    wanted: Array,
    at: Slots,
    kept: Array,
    kept_border: Array,
) -> None:
    """Collect the values in the candidate slots, grouped by slot."""
    slots, centre_at, border_at = at.row, at.centre_at, at.border_at
    size = maps.shape[2]
    kind = maps.dtype.type
    one, zero, top = kind(1), kind(0), kind(centre_at.shape[1] - 3)
    for k in range(len(wanted)):
        if not wanted[k]:
            continue
        low, times = these.lowest[k], these.scale[k]
        inner, rim = centre_at[k], border_at[k]
        for image in range(len(maps)):
            for start in range(0, size, len(slots)):
                values = maps[image, first + k, start : start + len(slots)]
                for i in range(len(values)):
                    f = (values[i] - low) * times + one
                    f = f if f > zero else zero  # also maps NaN to 0
                    slots[i] = np.int32(min(f, top)) + (values[i] >= zero) + (values[i] > zero)
                for left in range(0, len(values), width):
                    row, line = slots[left : left + width], values[left : left + width]
                    if start + left == 0 or start + left + width == size:
                        side = 0 if start + left == 0 else 1
                        for x in range(width):
                            to = rim[side, row[x]]
                            if to >= 0:
                                kept_border[to] = line[x]
                                rim[side, row[x]] = to + 1
                    else:
                        for x in range(1, width - 1):
                            to = inner[row[x]]
                            if to >= 0:
                                kept[to] = line[x]
                                inner[row[x]] = to + 1
                    for side in range(2, 4):
                        x = 0 if side == 2 else width - 1
                        to = rim[side, row[x]]
                        if to >= 0:
                            kept_border[to] = line[x]
                            rim[side, row[x]] = to + 1
