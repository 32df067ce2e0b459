"""Selection of the slots that may hold a supremum, and the suprema attained in them.

Compiled by numba as part of :func:`pytest_pan.stats.kernels.examine`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

GROUP = 16
"""Number of slots in a group; groups are examined first."""

_INSERTED = 32
"""Maximum number of values that are sorted by insertion."""

_COMPARED = 16
"""Maximum number of distinct border values in a slot that are compared to each centre value; with
more of them the centre values are sorted."""

_SORTED = 1 << 14
"""Maximum number of values sorted here; sorting whole rows is faster beyond that."""


class Slots(NamedTuple):
    """Counts of a block by slot, and scratch memory."""

    row: Array
    """Slots of some rows of one map."""
    centre: Array
    """Counts of the centre: (K, slots)."""
    border: Array
    """Counts of the borders: (K, 4, slots)."""
    centre_at: Array
    """Position of the next kept value of a slot, or -1: (K, slots); borders: (K, 4, slots)."""
    border_at: Array
    marks: Array
    """Slots that are candidates on any side: (slots,)."""
    sums: Array
    """Cumulative counts by group: (5, groups + 1), the centre last."""
    table: Array
    """Candidates, one row per slot and side: channel; side; start of the kept centre values, their
    number, number of centre values in lower slots; the same three for the border."""


@njit(nogil=True, error_model="numpy")
def _may_exceed(
    best: tuple[int, int, int], below: int, upto: int, before: int, through: int, n: int, m: int
) -> bool:
    """Return whether a value between two boundaries may exceed the best gaps so far.

    ``below`` centre and ``before`` border values lie below the lower boundary, ``upto`` and
    ``through`` below the upper one. Without border values in between nothing new is attained.
    """
    return through > before and (
        through * m - below * n > best[0]
        or upto * n - before * m > best[0]
        or max(0, upto - (m - n)) - before > best[1]
        or through - min(below, n) > best[2]
    )


@njit(nogil=True, error_model="numpy")
def _attained(
    best: tuple[int, int, int], upto: int, through: int, n: int, m: int
) -> tuple[int, int, int]:
    """Return the maximum of the best gaps so far and the gaps at a boundary."""
    return (
        max(best[0], abs(through * m - upto * n)),
        max(best[1], max(0, upto - (m - n)) - through),
        max(best[2], through - min(upto, n)),
    )


@njit(nogil=True, error_model="numpy")
def _undecided(
    k: int, lengths: Array, m: int, least: Array, gaps: Array, at: Slots, zero: int
) -> bool:
    """Return whether a side may be (nearly) a PAN, or its label as an edge detector is open.

    ``least`` (4, 3) holds, for each side, the gap of KS and the gap of KS+ and KS- up to which the
    side is certainly not a near-PAN, and the gap of KS up to which it is certainly below theta;
    with two more it is certainly above. The attained gaps of KS are written to ``gaps`` (4, 3). The
    slot ``zero`` holds a single distinct value.
    """
    groups = at.centre.shape[1] // GROUP
    open_ = False
    for side in range(4):
        n, low, truncated = lengths[side], least[side, 0], least[side, 1]
        attained = 0
        for g in range(1, groups):
            attained = max(attained, abs(at.sums[side, g] * m - at.sums[4, g] * n))
        may_detect = may_be_near = may_be_pan = False
        for g in range(groups):
            upto, through = at.sums[4, g], at.sums[side, g]
            ends = at.sums[4, g + 1], at.sums[side, g + 1]
            most = max(ends[1] * m - upto * n, ends[0] * n - through * m)
            if most <= low and _truncated(upto, ends[0], through, ends[1], n, m) <= truncated:
                continue
            for s in range(g * GROUP, (g + 1) * GROUP):
                below, before = upto, through
                upto += at.centre[k, s]
                through += at.border[k, side, s]
                attained = max(attained, abs(through * m - upto * n))
                if s == zero:  # a single value: gaps are attained at its ends only
                    largest = max(abs(through * m - upto * n), abs(before * m - below * n))
                    beyond = max(
                        _truncated(below, below, before, before, n, m),
                        _truncated(upto, upto, through, through, n, m),
                    )
                else:
                    largest = max(through * m - below * n, upto * n - before * m)
                    beyond = _truncated(below, upto, before, through, n, m)
                may_be_near = may_be_near or largest > low
                may_detect = may_detect or largest > least[side, 2]
                may_be_pan = may_be_pan or beyond > truncated
        gaps[side, 0] = attained
        undetected = attained < least[side, 2] + 2
        open_ = open_ or (may_be_near and may_be_pan) or (may_detect and undetected)
    return open_


@njit(nogil=True, error_model="numpy")
def _truncated(below: int, upto: int, before: int, through: int, n: int, m: int) -> int:
    """Return the bound of KS+ and KS- between two boundaries; arguments as :func:`_may_exceed`."""
    return max(max(0, upto - (m - n)) - before, through - min(below, n))


@njit(nogil=True, error_model="numpy")
def choose(
    wanted: Array, zeros: Array, lengths: Array, m: int, least: Array, gaps: Array, at: Slots
) -> tuple[int, int, int]:
    """Find the slots that may hold a supremum, and allocate positions for their values.

    The gaps of KS, KS+ and KS- at slot boundaries, in counts, are written to ``gaps`` (K, 4, 3).
    ``wanted`` (K,) marks the channels to examine; those whose labels ``least`` decides are
    unmarked. ``zeros`` (K,) are slots with a single distinct value, which need no examination.
    Returns the number of table rows, and the numbers of centre and border values to keep.
    """
    centre, border, sums, table = at.centre, at.border, at.sums, at.table
    rows, kept, kept_border = 0, 0, 0
    groups = centre.shape[1] // GROUP
    for k in range(len(wanted)):
        if not wanted[k]:
            continue
        for which in range(5):
            counts = centre[k] if which == 4 else border[k, which]
            total = 0
            sums[which, 0] = 0
            for g in range(groups):
                for number in counts[g * GROUP : (g + 1) * GROUP]:
                    total += number
                sums[which, g + 1] = total
        wanted[k] = _undecided(k, lengths, m, least, gaps[k], at, zeros[k])
        if not wanted[k]:
            continue
        at.centre_at[k, :] = -1
        at.border_at[k, :, :] = -1
        at.marks[:] = 0
        for side in range(4):
            n, best = lengths[side], (0, 0, 0)
            for g in range(1, groups):
                best = _attained(best, sums[4, g], sums[side, g], n, m)
            # two passes over groups that may exceed the best: slot boundaries, then insides
            for inside in range(2):
                for g in range(groups):
                    upto, through = sums[4, g], sums[side, g]
                    ends = sums[4, g + 1], sums[side, g + 1]
                    if not _may_exceed(best, upto, ends[0], through, ends[1], n, m):
                        continue
                    for s in range(g * GROUP, (g + 1) * GROUP):
                        below, before = upto, through
                        upto += centre[k, s]
                        through += border[k, side, s]
                        if not inside:
                            best = _attained(best, upto, through, n, m)
                        elif s != zeros[k] and _may_exceed(
                            best, below, upto, before, through, n, m
                        ):
                            at.marks[s] = 1
                            row = table[rows]
                            row[0], row[1], row[2], row[4] = k, side, s, below
                            row[5], row[6], row[7] = kept_border, through - before, before
                            at.border_at[k, side, s] = kept_border
                            kept_border += through - before
                            rows += 1
            gaps[k, side, 0], gaps[k, side, 1], gaps[k, side, 2] = best
        for s in range(len(at.marks)):
            if at.marks[s]:
                at.centre_at[k, s] = kept
                kept += centre[k, s]
    for r in range(rows):
        k, s = table[r, 0], table[r, 2]
        table[r, 2], table[r, 3] = at.centre_at[k, s], centre[k, s]
    return rows, kept, kept_border


@njit(nogil=True, error_model="numpy")
def settle(
    table: Array,
    lengths: Array,
    m: int,
    kept: Array,
    kept_border: Array,
    best: Array,
    crowded: Array,
) -> None:
    """Raise ``best`` to the gaps attained at the border values in the candidate slots.

    A channel with too many values in one slot is marked in ``crowded`` (K,) and skipped.
    """
    for r in range(len(table)):
        row = table[r]
        k, side = row[0], row[1]
        n = lengths[side]
        values = kept[row[2] : row[2] + row[3]]
        some = kept_border[row[5] : row[5] + row[6]]
        if len(some) > _INSERTED:
            some.sort()
        else:
            for i in range(1, len(some)):
                value, to = some[i], i
                while to > 0 and some[to - 1] > value:
                    some[to] = some[to - 1]
                    to -= 1
                some[to] = value
        distinct = 1
        for i in range(1, len(some)):
            distinct += some[i] != some[i - 1]
        search = distinct > _COMPARED
        if search and len(values) > _SORTED:
            crowded[k] = True
            continue
        if search:
            values.sort()
        two, plus, minus = best[k, side, 0], best[k, side, 1], best[k, side, 2]
        j = 0
        while j < len(some):
            value = some[j]
            before = row[7] + j
            while j < len(some) and some[j] == value:
                j += 1
            through = row[7] + j
            if search:
                less = np.searchsorted(values, value)
                more = len(values) - np.searchsorted(values, value, side="right")
            else:
                less, more = 0, 0
                for i in range(len(values)):
                    less += values[i] < value
                    more += values[i] > value
            below, upto = row[4] + less, row[4] + len(values) - more
            two = max(two, through * m - upto * n, below * n - before * m)
            plus = max(plus, max(0, below - (m - n)) - before)
            minus = max(minus, through - min(upto, n))
        best[k, side, 0], best[k, side, 1], best[k, side, 2] = two, plus, minus
