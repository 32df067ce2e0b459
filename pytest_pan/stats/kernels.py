"""Loops of :mod:`pytest_pan.stats.binned`, compiled by numba. Importing this imports numba.

:func:`examine` does a share of a site's channels, a block at a time, in one call: a thread that
came back to Python in between would wait for the other threads. The rest are its steps; they take
maps (N, C, H W) and work on the channels ``first`` to ``first + len(lowest)``. ``slots`` is scratch
for some rows of one map.

The compiler vectorises a loop that runs over a slice from its start, but no reduction of floats, as
that would change the order of their arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

GROUP = 16
"""Slots that are looked at as one first."""

_SCRATCH = 4096
"""Values of a map that are given slots at a time, but a row at least."""

_INSERTED = 32
"""Values that are sorted by insertion at most."""

_COMPARISONS = 32
"""With border values, for each centre value: a sort is no dearer."""


def _kept_on_disk(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function when it is first called, once and for all where it can be stored."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to store it in
        return njit(**options)(function)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:  # noqa: ARG001
    """An address as a pointer: numba takes no list of arrays, but arrays at addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.intp), generate


@_kept_on_disk
def examine(
    addresses: Array,
    images: Array,
    like: Array,
    bits_like: Array,
    channels: int,
    width: int,
    share: tuple[int, int],
    block: int,
    slots: int,
    m: int,
    lengths: Array,
    best: Array,
    finite: Array,
    unsettled: Array,
) -> None:
    """Fills best (C, 4, 3), finite (C,) and unsettled (C,) for a share of the channels.

    ``addresses`` and ``images`` are those of the batches, each contiguous, (N, C, H, W); ``like``
    and ``bits_like`` tell their type and that of the integers of the same size. ``m`` and
    ``lengths`` (4,) are how many centre and border values a channel has.
    """
    size = lengths[2] // images.sum() * width
    kind = like.dtype.type
    infinity = np.full(1, np.inf, like.dtype).view(bits_like.dtype)[0]
    magnitude = np.iinfo(bits_like.dtype).max
    scratch = np.empty(min(max(1, _SCRATCH // width) * width, size), np.uint32)
    centre, border = np.empty((block, slots), np.int32), np.empty((block, 4, slots), np.int32)
    centre_at, border_at = np.empty_like(centre), np.empty_like(border)
    marks = np.empty(slots, np.uint8)
    sums = np.empty((5, slots // GROUP + 1), np.int64)
    table = np.empty((block * slots * 4, 8), np.int64)
    for first in range(share[0], share[1], block):
        held = min(block, share[1] - first)
        lowest, highest = np.full(held, np.inf, like.dtype), np.full(held, -np.inf, like.dtype)
        scale, largest = np.empty(held, like.dtype), np.zeros(held, bits_like.dtype)
        usable = np.empty(held, np.bool_)
        for b in range(len(images)):
            shape = images[b], channels, size
            maps = carray(_pointer(addresses[b]), shape, like.dtype)
            _extremes(maps, width, first, lowest, highest)
        for k in range(held):
            times = kind(slots - 2.5) / (highest[k] - lowest[k])
            usable[k] = np.isfinite(times) and times > 0
            scale[k] = times if usable[k] else kind(0)
        centre[:], border[:] = 0, 0
        for b in range(len(images)):
            shape = images[b], channels, size
            maps = carray(_pointer(addresses[b]), shape, like.dtype)
            bits = carray(_pointer(addresses[b]), shape, bits_like.dtype)
            _count(
                maps, bits, magnitude, width, first, lowest, scale, scratch, centre, border, largest
            )
        for k in range(held):
            finite[first + k] = largest[k] < infinity
            usable[k] = usable[k] and finite[first + k]
        gaps = best[first : first + held]
        rows, some, others = _choose(
            centre, border, usable, lengths, m, gaps, centre_at, border_at, marks, sums, table
        )
        kept, kept_border = np.empty(some, like.dtype), np.empty(others, like.dtype)
        for b in range(len(images)):
            shape = images[b], channels, size
            maps = carray(_pointer(addresses[b]), shape, like.dtype)
            _collect(
                maps,
                width,
                first,
                lowest,
                scale,
                usable,
                scratch,
                centre_at,
                border_at,
                kept,
                kept_border,
            )
        work = np.full(held, _COMPARISONS * m, np.int64)
        _settle(table[:rows], lengths, m, kept, kept_border, gaps, work)
        for k in range(held):
            unsettled[first + k] = not usable[k] or work[k] < 0


@njit(nogil=True, error_model="numpy")
def _extremes(maps: Array, width: int, first: int, lowest: Array, highest: Array) -> None:
    """Widens each channel's range, ``lowest`` to ``highest``, to hold its outermost ring."""
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
def _count(
    maps: Array,
    bits: Array,
    magnitude: Any,
    width: int,
    first: int,
    lowest: Array,
    scale: Array,
    slots: Array,
    centre: Array,
    border: Array,
    largest: Array,
) -> None:
    """Counts values by slot: adds to centre (K, slots) and border (K, 4, slots).

    ``bits`` are the maps as integers, and ``largest`` (K,) becomes the greatest of them without
    its sign (``& magnitude``): the greatest magnitude, and NaN is greater than infinity.
    """
    size = maps.shape[2]
    kind, integer = maps.dtype.type, bits.dtype.type
    one, zero, top = kind(1), kind(0), kind(centre.shape[1] - 1)
    for k in range(len(lowest)):
        low, times, most = lowest[k], scale[k], largest[k]
        inner, rim = centre[k], border[k]
        for image in range(len(maps)):
            for start in range(0, size, len(slots)):
                values = maps[image, first + k, start : start + len(slots)]
                patterns = bits[image, first + k, start : start + len(slots)]
                for i in range(len(values)):
                    f = (values[i] - low) * times + one
                    f = f if f > zero else zero  # NaN too becomes 0
                    slots[i] = np.int32(min(f, top))
                for i in range(len(values)):
                    pattern = integer(patterns[i] & magnitude)
                    most = pattern if pattern > most else most
                for at in range(0, len(values), width):
                    row = slots[at : at + width]
                    if start + at == 0:
                        for slot in row:
                            rim[0, slot] += 1
                    elif start + at + width == size:
                        for slot in row:
                            rim[1, slot] += 1
                    else:
                        for slot in row[1 : width - 1]:
                            inner[slot] += 1
                    rim[2, row[0]] += 1
                    rim[3, row[width - 1]] += 1
        largest[k] = most


@njit(nogil=True, error_model="numpy")
def _choose(
    centre: Array,
    border: Array,
    usable: Array,
    lengths: Array,
    m: int,
    best: Array,
    centre_at: Array,
    border_at: Array,
    marks: Array,
    sums: Array,
    table: Array,
) -> tuple[int, int, int]:
    """Finds the slots that may hold a supremum, and lays out where their values are to be kept.

    ``best`` (K, 4, 3) becomes what the boundaries of slots attain of KS, KS+ and KS-, in counts.
    ``centre_at`` and ``border_at``, shaped as the counts, become where the next value of a slot
    goes, or -1. ``marks`` (slots,) and ``sums`` (5, groups + 1) are scratch. Returns the rows of
    the table, and how many values of the centre and of the border will be kept.
    """
    rows, kept, kept_border = 0, 0, 0
    slots = centre.shape[1]
    groups = slots // GROUP
    for k in range(len(usable)):
        centre_at[k, :] = -1
        border_at[k, :, :] = -1
        if not usable[k]:
            continue
        marks[:] = 0
        for which in range(5):
            counts = centre[k] if which == 4 else border[k, which]
            total = 0
            sums[which, 0] = 0
            for g in range(groups):
                for number in counts[g * GROUP : (g + 1) * GROUP]:
                    total += number
                sums[which, g + 1] = total
        for side in range(4):
            n = lengths[side]
            two, plus, minus = 0, 0, 0
            for g in range(1, groups):
                upto, through = sums[4, g], sums[side, g]
                two = max(two, abs(through * m - upto * n))
                plus = max(plus, max(0, upto - (m - n)) - through)
                minus = max(minus, through - min(upto, n))
            # twice over the groups that may hold more: their boundaries, then their insides
            for inside in range(2):
                for g in range(groups):
                    below, before = sums[4, g], sums[side, g]
                    upto, through = sums[4, g + 1], sums[side, g + 1]
                    if through == before or not (
                        through * m - below * n > two
                        or upto * n - before * m > two
                        or max(0, upto - (m - n)) - before > plus
                        or through - min(below, n) > minus
                    ):
                        continue
                    upto, through = below, before
                    for s in range(g * GROUP, (g + 1) * GROUP):
                        below, before = upto, through
                        upto += centre[k, s]
                        through += border[k, side, s]
                        if not inside:
                            two = max(two, abs(through * m - upto * n))
                            plus = max(plus, max(0, upto - (m - n)) - through)
                            minus = max(minus, through - min(upto, n))
                        elif through > before and (
                            through * m - below * n > two
                            or upto * n - before * m > two
                            or max(0, upto - (m - n)) - before > plus
                            or through - min(below, n) > minus
                        ):
                            marks[s] |= 1 << side
                            row = table[rows]
                            row[0], row[1], row[2], row[4] = k, side, s, below
                            row[5], row[6], row[7] = kept_border, through - before, before
                            border_at[k, side, s] = kept_border
                            kept_border += through - before
                            rows += 1
            best[k, side, 0], best[k, side, 1], best[k, side, 2] = two, plus, minus
        for s in range(slots):
            if marks[s]:
                centre_at[k, s] = kept
                kept += centre[k, s]
    for r in range(rows):
        k, s = table[r, 0], table[r, 2]
        table[r, 2], table[r, 3] = centre_at[k, s], centre[k, s]
    return rows, kept, kept_border


@njit(nogil=True, error_model="numpy")
def _collect(
    maps: Array,
    width: int,
    first: int,
    lowest: Array,
    scale: Array,
    usable: Array,
    slots: Array,
    centre_at: Array,
    border_at: Array,
    kept: Array,
    kept_border: Array,
) -> None:
    """Keeps the values in the candidate slots, each slot's together."""
    size = maps.shape[2]
    kind = maps.dtype.type
    one, zero, top = kind(1), kind(0), kind(centre_at.shape[1] - 1)
    for k in range(len(lowest)):
        if not usable[k]:
            continue
        low, times = lowest[k], scale[k]
        inner, rim = centre_at[k], border_at[k]
        for image in range(len(maps)):
            for start in range(0, size, len(slots)):
                values = maps[image, first + k, start : start + len(slots)]
                for i in range(len(values)):
                    f = (values[i] - low) * times + one
                    f = f if f > zero else zero  # NaN too becomes 0
                    slots[i] = np.int32(min(f, top))
                for at in range(0, len(values), width):
                    row, line = slots[at : at + width], values[at : at + width]
                    if start + at == 0 or start + at + width == size:
                        side = 0 if start + at == 0 else 1
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


@njit(nogil=True, error_model="numpy")
def _settle(
    table: Array,
    lengths: Array,
    m: int,
    kept: Array,
    kept_border: Array,
    best: Array,
    work: Array,
) -> None:
    """Raises ``best`` to what the border values in the candidate slots attain.

    A channel whose ``work`` (K,), comparisons that may still be made, falls below 0 is left.
    """
    for r in range(len(table)):
        row = table[r]
        k, side = row[0], row[1]
        n = lengths[side]
        values = kept[row[2] : row[2] + row[3]]
        some = kept_border[row[5] : row[5] + row[6]]
        if work[k] < 0:
            continue
        if len(some) > _INSERTED:
            some.sort()
        else:
            for i in range(1, len(some)):
                value, to = some[i], i
                while to > 0 and some[to - 1] > value:
                    some[to] = some[to - 1]
                    to -= 1
                some[to] = value
        two, plus, minus = best[k, side, 0], best[k, side, 1], best[k, side, 2]
        j = 0
        while j < len(some):
            value = some[j]
            before = row[7] + j
            while j < len(some) and some[j] == value:
                j += 1
            through = row[7] + j
            work[k] -= len(values)
            if work[k] < 0:
                break
            less, more = 0, 0
            for i in range(len(values)):
                less += values[i] < value
                more += values[i] > value
            below, upto = row[4] + less, row[4] + len(values) - more
            two = max(two, through * m - upto * n, below * n - before * m)
            plus = max(plus, max(0, below - (m - n)) - before)
            minus = max(minus, through - min(upto, n))
        best[k, side, 0], best[k, side, 1], best[k, side, 2] = two, plus, minus
