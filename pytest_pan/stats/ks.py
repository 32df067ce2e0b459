"""Exact Kolmogorov-Smirnov statistics of borders against centres, vectorised over channels.

All statistics follow from one ranking. Sort a border, ``b_0 <= ... <= b_(n-1)``, and let
``below_j`` and ``upto_j`` be the number of centre values ``< b_j`` and ``<= b_j``. The border's
empirical distribution function jumps only at its own values, so its largest excess over the
centre's is attained at a jump, ``(j+1)/n - upto_j/m``, and its largest shortfall just before one,
``below_j/m - j/n``. Ties need no special case: among equal values the last one gives the excess and
the first one the shortfall, and the maximum selects them.

The centre truncated to its k highest (lowest) values is a suffix (prefix) of the same ranking:
``max(0, below - (m-k))`` of its values lie below a point, ``min(k, upto)`` at or below it. So no
second sort is needed, and gaps are integers until a single division at the end.
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
"""Gaps are at most n m; if they fit in 32 bits, memory traffic is halved."""

Total = Callable[[Tensor], Tensor]
"""Function that sums a tensor of counts over all processes."""


def _single_process(counts: Tensor) -> Tensor:
    return counts


class KS(NamedTuple):
    """Statistics by side and channel: (sides, C) float64 each, on the device of the input."""

    two_sided: Tensor
    plus: Tensor
    """Border against the highest centre values, alternative *less*: 1 if entirely above."""
    minus: Tensor
    """Border against the lowest centre values, alternative *greater*: 1 if entirely below."""


class TooFewCentreValuesError(ValueError):
    """The centre has fewer values than a border, so it cannot be truncated to that number."""


def border_statistics(borders: Sequence[Tensor], centre: Tensor) -> KS:
    """Compute KS, KS+ and KS- of each border: (C, n_b) and centre (C, m) -> (len(borders), C).

    Definition: PAN section 3.1-3.2; ``k`` is each border's own ``n_b``. Values must be finite
    (see :func:`finite_rows`). Raises :class:`TooFewCentreValuesError` if ``m < n_b``.
    """
    widest = max(border.shape[1] for border in borders)
    if centre.shape[1] < widest:
        raise TooFewCentreValuesError(f"{centre.shape[1]} centre values for {widest} border values")
    ranked = sort_rows(centre)
    return sorted_statistics([sort_rows(border) for border in borders], ranked)


def sorted_statistics(
    borders: Sequence[Tensor],
    centre: Tensor,
    *,
    size: int | None = None,
    total: Total = _single_process,
) -> KS:
    """Compute :func:`border_statistics` of sorted rows.

    If the centre is distributed over several processes, ``centre`` is the part of this process,
    ``size`` the total length, and ``total`` sums counts over all processes. ``borders`` are
    complete in every process.
    """
    m = centre.shape[1] if size is None else size
    rows = []
    for border in borders:
        below, upto = _ranks(centre, border)
        if total is not _single_process:
            below, upto = total(below.long()), total(upto.long())
        rows.append(_gaps(below, upto, m))
    two_sided, plus, minus = (torch.stack(column) for column in zip(*rows, strict=True))
    return KS(two_sided, plus, minus)


def _gaps(below: Tensor, upto: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the statistics of a border from the ranks of its values among m centre values."""
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
    """Count the centre values < and <= each border value: (C, n) twice.

    The two differ only if a border value occurs in the centre, which is rare in the outputs of a
    real convolution, and usually once. So one step past such a value is enough, and a second search
    is run only in rows with more repetitions, or in all rows if these are many.
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
    """Sort each row in ascending order, NaN last: (C, n) -> (C, n); half precision -> float32.

    ``in_place`` permits sorting contiguous CPU rows in place. On the CPU numpy sorts blocks of rows
    in threads: its vectorised sort is several times faster than torch's and releases the GIL.
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
    """Return whether sorted rows are entirely finite, judged by both ends: (C, n) -> (C,) bool."""
    return torch.isfinite(ranked[:, 0]) & torch.isfinite(ranked[:, -1])
