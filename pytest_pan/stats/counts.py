"""Bounds on Kolmogorov-Smirnov statistics from counts between fixed edges (ours).

Counts can be summed over batches and processes; statistics cannot. A value lies in slot ``i`` if
``i`` edges are at or below it. So the cumulative counts at the edges are exact, and only the order
of the values inside a slot is unknown. The largest gap is at least the largest gap at the slots'
ends, and at most the largest gap that any order inside a slot allows. These bounds hold for every
sample with the same counts, and memory does not grow with the number of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_pan.stats.ks import KS, sort_rows

EDGES = 6144
"""Edges per channel, so that a slot holds about 1/6144 of the border values."""
BINS = 48
"""Number of equal bins of the histograms; their edges are included."""
COARSE = 8
"""Inner lines use only every COARSE-th edge."""

_BLOCK = 1 << 20
"""Values processed at a time; temporary memory is a small multiple."""


class Bounds(NamedTuple):
    """Lower and upper bounds of the statistics; identical if they are exact."""

    low: KS
    high: KS

    @property
    def exact(self) -> bool:
        """Whether both bounds are the same object, as with whole maps, so that one suffices."""
        return self.low is self.high

    @property
    def middle(self) -> KS:
        """Reported statistics: the midpoints."""
        if self.exact:
            return self.low
        return KS(*((a + b) / 2 for a, b in zip(self.low, self.high, strict=True)))

    @property
    def error(self) -> Tensor:
        """Maximum error of the reported statistics, by side: (sides, C)."""
        if self.exact:
            return torch.zeros_like(self.low.two_sided)
        spread = [(b - a) / 2 for a, b in zip(self.low, self.high, strict=True)]
        return torch.stack(spread).amax(0)


def make_edges(borders: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Derive edges from the first images: borders (C, n), range of all values (C,) twice -> (C, E).

    Edges are quantiles of the border values, because a slot's share of a border bounds the error of
    every statistic, and the edges of equal bins over the whole range. Repeated values get a slot of
    their own, so that ties (zeros, saturation) do not reduce accuracy.
    """
    ranked = sort_rows(borders)
    if ranked.shape[1] > EDGES:
        picks = torch.linspace(0, ranked.shape[1] - 1, EDGES, device=ranked.device).round().long()
        ranked = ranked[:, picks]
    low, high = low.to(ranked.dtype), high.to(ranked.dtype)
    edges = sort_rows(torch.cat([ranked, bin_edges(low, high)], 1))
    is_repeated = edges[:, 1:] == edges[:, :-1]
    after = torch.nextafter(edges[:, 1:], torch.full_like(edges[:, 1:], torch.inf))
    edges[:, 1:] = torch.where(is_repeated, after, edges[:, 1:])
    return edges


def bin_edges(low: Tensor, high: Tensor) -> Tensor:
    """Return the edges of equal bins: (C,) twice -> (C, BINS + 1)."""
    steps = torch.linspace(0, 1, BINS + 1, device=low.device, dtype=low.dtype)
    return low[:, None] * (1 - steps) + high[:, None] * steps  # a difference could overflow


def count_in_slots(values: Tensor, edges: Tensor) -> Tensor:
    """Count the values in each slot: values (C, m), edges (C, E) -> (C, E + 1) int64."""
    channels, width = len(edges), edges.shape[1] + 1
    values = values if values.dtype == edges.dtype else values.to(edges.dtype)
    found = torch.zeros(channels, width, dtype=torch.long, device=edges.device)
    block = max(1, _BLOCK // max(values.shape[1], 1))
    for at in range(0, channels, block):
        part = slice(at, at + block)
        slots = torch.searchsorted(edges[part], values[part].contiguous(), right=True)
        if slots.is_cuda:  # bincount would synchronise with the device
            found[part].scatter_add_(1, slots, torch.ones_like(slots))
        else:
            rows = torch.arange(len(slots))[:, None] * width
            flat = torch.bincount((slots + rows).flatten(), minlength=len(slots) * width)
            found[part] = flat.view(-1, width)
    return found


def bounds(borders: Sequence[Tensor], centre: Tensor, edges: Tensor) -> Bounds:
    """Compute bounds of the statistics: counts of borders and centre (C, E + 1), edges (C, E)."""
    block = max(1, _BLOCK // centre.shape[1])
    wide = _wide(edges)
    sides = []
    for border in borders:
        parts = [
            _one_border(*(part[at : at + block] for part in (border, centre, wide)))
            for at in range(0, len(centre), block)
        ]
        sides.append([torch.cat(column) for column in zip(*parts, strict=True)])
    low, high = (
        KS(*(torch.stack([side[at] for side in sides]) for at in places))
        for places in ((0, 2, 4), (1, 3, 5))
    )
    return Bounds(low, high)


def _wide(edges: Tensor) -> Tensor:
    """Return which slots can hold more than one distinct value: (C, E) -> (C, E + 1) bool."""
    room = edges[:, 1:] > torch.nextafter(edges[:, :-1], torch.full_like(edges[:, 1:], torch.inf))
    ends = room.new_ones(len(edges), 1)
    return torch.cat([ends, room, ends], 1)


def _one_border(border: Tensor, centre: Tensor, wide: Tensor) -> tuple[Tensor, ...]:
    """Return lower and upper bounds of KS, KS+ and KS- of one border: six (C,)."""
    border, centre = border.long(), centre.long()
    b1, c1 = border.cumsum(1), centre.cumsum(1)
    b0, c0 = b1 - border, c1 - centre
    n, m = b1[:, -1:], c1[:, -1:]
    # n and m are multiples of the number of images; dividing by it keeps n m small
    shared = math.gcd(int(n[0]), int(m[0])) or 1
    nn, mm = n // shared, m // shared
    is_open = (border > 0) & wide
    top = m - n
    low_two = torch.maximum((b1 * mm - c1 * nn).amax(1), (c0 * nn - b0 * mm).amax(1))
    high_two = torch.maximum(
        _largest(b1 * mm - c0 * nn, is_open), _largest(c1 * nn - b0 * mm, is_open)
    )
    low_plus = ((c0 - top).clamp(min=0) - b0).amax(1)
    high_plus = _largest((c1 - top).clamp(min=0) - b0, is_open)
    low_minus = (b1 - torch.minimum(c1, n)).amax(1)
    high_minus = _largest(b1 - torch.minimum(c0, n), is_open)
    found: list[Tensor] = []
    for low, high, whole in (
        (low_two, high_two, nn * m),
        (low_plus, high_plus, n),
        (low_minus, high_minus, n),
    ):
        least = low.clamp(min=0)
        whole_ = whole[:, 0]
        found += [least.double() / whole_, torch.maximum(least, high).double() / whole_]
    return tuple(found)


def _largest(gaps: Tensor, is_open: Tensor) -> Tensor:
    """Return the largest gap in slots with border values in unknown order.

    In all other slots the gap cannot exceed the gap at the ends.
    """
    return gaps.masked_fill(~is_open, 0).amax(1)


def coarsen(counts: Tensor) -> Tensor:
    """Merge counts to those between every ``COARSE``-th edge: (C, S) -> (C, K + 1)."""
    through = counts.cumsum(1)
    kept = through[:, :-1][:, ::COARSE]
    return torch.cat([kept, through[:, -1:]], 1).diff(dim=1, prepend=torch.zeros_like(kept[:, :1]))


def truncated(below: Tensor, size: int, k: int) -> tuple[Tensor, Tensor]:
    """Count the k highest, and the k lowest, of ``size`` values that lie below each point.

    ``below`` (C, P) counts all values below each point.
    """
    return (below - (size - k)).clamp(min=0), below.clamp(max=k)


def below_bin_edges(counts: Tensor, edges: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Count values below each inner bin edge: (C, S), (C, E), (C,) twice -> (C, BINS - 1).

    Exact, since the bin edges are among the edges.
    """
    ends = bin_edges(low.to(edges.dtype), high.to(edges.dtype))[:, 1:-1].contiguous()
    at = torch.searchsorted(edges, ends)
    return counts.cumsum(1).gather(1, at)
