"""Exact Kolmogorov-Smirnov statistics of borders against centres, for many channels at once.

All of them follow from one ranking. Sort a border, ``b_0 <= ... <= b_(n-1)``, and let ``below_j``
and ``upto_j`` be the number of centre values ``< b_j`` and ``<= b_j``. The border's empirical
distribution function jumps only at its own values, so its largest excess over the centre's lies
at a jump, ``(j+1)/n - upto_j/m``, and its largest shortfall just before one, ``below_j/m - j/n``.
Ties need no special case: among equal values the last one gives the excess and the first one the
shortfall, and the maximum finds them.

The centre truncated to its k highest (lowest) values is a suffix (prefix) of the same ranks:
``max(0, below - (m-k))`` of them lie below a point, ``min(k, upto)`` at or below it. So no second
sort is needed, and every gap stays an integer until one division at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WORTH_A_THREAD = 1 << 16
_NARROW = 2**31
"""Gaps reach n m: where 32 bits hold them they take half the memory traffic."""

Total = Callable[[Tensor], Tensor]


def _alone(counts: Tensor) -> Tensor:
    return counts


class KS(NamedTuple):
    """Statistics by side and channel, each (sides, C), float64, on the input's device."""

    two_sided: Tensor
    plus: Tensor
    """Border against the highest centre values, alternative *less*: 1 is wholly above."""
    minus: Tensor
    """Border against the lowest centre values, alternative *greater*: 1 is wholly below."""


class TooFewCentreValuesError(ValueError):
    """The centre has fewer values than a border, so truncating it to as many means nothing."""


def border_statistics(borders: Sequence[Tensor], centre: Tensor) -> KS:
    """KS, KS+ and KS- of each border: borders (C, n_b) and centre (C, m) -> (len(borders), C).

    Definition: PAN section 3.1-3.2; ``k`` is each border's own ``n_b``. Values must be finite
    (see :func:`finite_rows`). Raises :class:`TooFewCentreValuesError` where ``m < n_b``.
    """
    widest = max(border.shape[1] for border in borders)
    if centre.shape[1] < widest:
        raise TooFewCentreValuesError(f"{centre.shape[1]} centre values for {widest} border values")
    ranked = sort_rows(centre)
    return sorted_statistics([sort_rows(border) for border in borders], ranked)


def sorted_statistics(
    borders: Sequence[Tensor], centre: Tensor, *, size: int | None = None, total: Total = _alone
) -> KS:
    """:func:`border_statistics` of rows that are sorted already.

    Where the centre is spread over several processes, ``centre`` is this one's part of it, ``size``
    the length of the whole, and ``total`` adds a tensor of counts up over all of them; ``borders``
    are whole everywhere.
    """
    m = centre.shape[1] if size is None else size
    rows = []
    for border in borders:
        below, upto = _ranks(centre, border)
        if total is not _alone:
            below, upto = total(below.long()), total(upto.long())
        rows.append(_gaps(below, upto, m))
    two_sided, plus, minus = (torch.stack(column) for column in zip(*rows, strict=True))
    return KS(two_sided, plus, minus)


def _gaps(below: Tensor, upto: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics of a border whose j-th value has so many of m centre values below it."""
    n = below.shape[1]
    if n * m >= _NARROW:
        below, upto = below.long(), upto.long()
    before = torch.arange(n, device=below.device, dtype=below.dtype)
    excess = ((before + 1) * m - upto * n).amax(1)
    shortfall = (below * n - before * m).amax(1)
    two_sided = torch.maximum(excess, shortfall).double() / (n * m)
    above_top = ((below - (m - n)).clamp(min=0) - before).amax(1).clamp(min=0)
    under_bottom = ((before + 1) - upto.clamp(max=n)).amax(1).clamp(min=0)
    return two_sided, above_top.double() / n, under_bottom.double() / n


def _ranks(centre: Tensor, border: Tensor) -> tuple[Tensor, Tensor]:
    """How many centre values are < and <= each border value: twice (C, n).

    The two differ only where a border value occurs in the centre: rare in a real convolution's
    outputs, and then mostly once. So one step past each such value settles it, and the second
    search is made only in the rows where values repeat further (all of them, when saturated).
    """
    if not centre.shape[1]:
        return (torch.zeros_like(border, dtype=torch.long),) * 2
    last = centre.shape[1] - 1
    narrow = border.shape[1] * centre.shape[1] < _NARROW
    below = torch.searchsorted(centre, border, out_int32=narrow)
    found = centre.gather(1, below.clamp(max=last).long()) == border
    if not found.any():
        return below, below
    upto = below + found
    again = found & (upto <= last) & (centre.gather(1, upto.clamp(max=last).long()) == border)
    rows = again.any(1).nonzero().flatten()
    if 4 * len(rows) > len(centre):
        return below, torch.searchsorted(centre, border, right=True, out_int32=narrow)
    if len(rows):
        upto[rows] = torch.searchsorted(centre[rows], border[rows], right=True, out_int32=narrow)
    return below, upto


def sort_rows(rows: Tensor, *, in_place: bool = False) -> Tensor:
    """Each row ascending, NaN last: (C, n) -> (C, n), half precisions widened to float32.

    ``in_place`` lets contiguous CPU rows be sorted where they lie. On the CPU numpy sorts, a block
    of rows a thread: its vectorised sort is several times as fast as torch's, and it lets go of
    the interpreter lock.
    """
    if rows.dtype not in (torch.float32, torch.float64):
        rows, in_place = rows.float(), True
    if rows.device.type != "cpu":
        return torch.sort(rows, dim=1).values
    if not (in_place and rows.is_contiguous()):
        rows = rows.clone(memory_format=torch.contiguous_format)
    values = rows.numpy()
    workers = min(torch.get_num_threads(), len(values))
    if workers > 1 and values.size > _WORTH_A_THREAD:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_sort_block, np.array_split(values, workers)))
    else:
        _sort_block(values)
    return rows


def _sort_block(values: NDArray[Any]) -> None:
    values.sort(axis=1)


def finite_rows(ranked: Tensor) -> Tensor:
    """Whether a sorted row holds finite values only: (C, n) -> (C,), from its two ends."""
    return torch.isfinite(ranked[:, 0]) & torch.isfinite(ranked[:, -1])
