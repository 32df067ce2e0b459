"""Kolmogorov-Smirnov statistics from counts between fixed edges: any number of images, bounded.

Counts add up over batches and over processes, statistics do not. A value lies in slot ``i`` if
``i`` edges are at or below it, so the counts up to an edge are exact there, and only where inside
a slot the values lie is not known. Whatever they are, the largest gap lies between the largest at
the slots' ends and the largest that some order inside a slot would allow: a lower and an upper
bound that hold for every sample with these counts (ours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pytest_pan.stats.ks import KS, sort_rows

EDGES = 6144
"""Edges a channel has: a slot then holds about a 6144th of the borders."""
BINS = 48
"""Equal bins of the histograms, whose ends are edges too."""
COARSE = 8
"""Every so manieth edge serves for the lines behind the border."""

_BLOCK = 1 << 20
"""Values looked at at a time: temporary memory is a small multiple."""


class Bounds(NamedTuple):
    """Between what the statistics lie; both the same where they are exact."""

    low: KS
    high: KS

    @property
    def exact(self) -> bool:
        """Whether both are one, as of whole maps: what follows from them need be done but once."""
        return self.low is self.high

    @property
    def middle(self) -> KS:
        """The statistics as they are reported."""
        if self.exact:
            return self.low
        return KS(*((a + b) / 2 for a, b in zip(self.low, self.high, strict=True)))

    @property
    def error(self) -> Tensor:
        """How far a reported statistic may be off, the worst of each side: (sides, C)."""
        if self.exact:
            return torch.zeros_like(self.low.two_sided)
        spread = [(b - a) / 2 for a, b in zip(self.low, self.high, strict=True)]
        return torch.stack(spread).amax(0)


def edges_of(borders: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Edges from the first images: border values (C, n), range of all values (C,) twice -> (C, E).

    Quantiles of the borders, since a border's share of a slot bounds every statistic's error, and
    the ends of equal bins over the whole range. A value that is met twice gets a slot of its own,
    so that ties (zeros, saturation) cost no accuracy.
    """
    ranked = sort_rows(borders)
    if ranked.shape[1] > EDGES:
        picks = torch.linspace(0, ranked.shape[1] - 1, EDGES, device=ranked.device).round().long()
        ranked = ranked[:, picks]
    low, high = low.to(ranked.dtype), high.to(ranked.dtype)
    every = sort_rows(torch.cat([ranked, display(low, high)], 1))
    again = every[:, 1:] == every[:, :-1]
    after = torch.nextafter(every[:, 1:], torch.full_like(every[:, 1:], torch.inf))
    every[:, 1:] = torch.where(again, after, every[:, 1:])
    return every


def display(low: Tensor, high: Tensor) -> Tensor:
    """Ends of equal bins: (C,) twice -> (C, BINS + 1)."""
    steps = torch.linspace(0, 1, BINS + 1, device=low.device, dtype=low.dtype)
    return low[:, None] * (1 - steps) + high[:, None] * steps  # a difference could overflow


def between(values: Tensor, edges: Tensor) -> Tensor:
    """How many values lie in each slot: values (C, m), edges (C, E) -> (C, E + 1) int64."""
    channels, width = len(edges), edges.shape[1] + 1
    values = values if values.dtype == edges.dtype else values.to(edges.dtype)
    found = torch.zeros(channels, width, dtype=torch.long, device=edges.device)
    block = max(1, _BLOCK // max(values.shape[1], 1))
    for at in range(0, channels, block):
        part = slice(at, at + block)
        slots = torch.searchsorted(edges[part], values[part].contiguous(), right=True)
        if slots.is_cuda:  # bincount would wait for the device
            found[part].scatter_add_(1, slots, torch.ones_like(slots))
        else:
            rows = torch.arange(len(slots))[:, None] * width
            flat = torch.bincount((slots + rows).flatten(), minlength=len(slots) * width)
            found[part] = flat.view(-1, width)
    return found


def bounds(borders: Sequence[Tensor], centre: Tensor, edges: Tensor) -> Bounds:
    """Bounds of the statistics: counts of each border (C, E + 1), of the centre, edges (C, E)."""
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
    """Which slots have room for more than one value: (C, E) -> (C, E + 1) bool."""
    room = edges[:, 1:] > torch.nextafter(edges[:, :-1], torch.full_like(edges[:, 1:], torch.inf))
    ends = room.new_ones(len(edges), 1)
    return torch.cat([ends, room, ends], 1)


def _one_border(border: Tensor, centre: Tensor, wide: Tensor) -> tuple[Tensor, ...]:
    """Lower and upper bound of KS, KS+ and KS-: six (C,)."""
    border, centre = border.long(), centre.long()
    b1, c1 = border.cumsum(1), centre.cumsum(1)
    b0, c0 = b1 - border, c1 - centre
    n, m = b1[:, -1:], c1[:, -1:]
    # both are multiples of the images: without that factor n m stays small at any number of them
    shared = math.gcd(int(n[0]), int(m[0])) or 1
    nn, mm = n // shared, m // shared
    there = (border > 0) & wide
    top = m - n
    low_two = torch.maximum((b1 * mm - c1 * nn).amax(1), (c0 * nn - b0 * mm).amax(1))
    high_two = torch.maximum(_largest(b1 * mm - c0 * nn, there), _largest(c1 * nn - b0 * mm, there))
    low_plus = ((c0 - top).clamp(min=0) - b0).amax(1)
    high_plus = _largest((c1 - top).clamp(min=0) - b0, there)
    low_minus = (b1 - torch.minimum(c1, n)).amax(1)
    high_minus = _largest(b1 - torch.minimum(c0, n), there)
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


def _largest(gaps: Tensor, there: Tensor) -> Tensor:
    """The largest gap among slots where order is not known and that hold border values: nowhere
    else can it exceed the one at the ends.
    """
    return gaps.masked_fill(~there, 0).amax(1)


def coarse(counts: Tensor) -> Tensor:
    """Counts between all edges as counts between every ``COARSE``-th: (C, S) -> (C, K + 1)."""
    through = counts.cumsum(1)
    kept = through[:, :-1][:, ::COARSE]
    return torch.cat([kept, through[:, -1:]], 1).diff(dim=1, prepend=torch.zeros_like(kept[:, :1]))


def truncated(below: Tensor, size: int, k: int) -> tuple[Tensor, Tensor]:
    """How many of the k highest, and of the k lowest, of ``size`` values lie below each point.

    ``below`` (C, P): how many of all of them do.
    """
    return (below - (size - k)).clamp(min=0), below.clamp(max=k)


def below_display(counts: Tensor, edges: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Values below each inner end of the equal bins: (C, S), (C, E), (C,) twice -> (C, BINS - 1).

    Exact, since the ends are edges.
    """
    ends = display(low.to(edges.dtype), high.to(edges.dtype))[:, 1:-1].contiguous()
    at = torch.searchsorted(edges, ends)
    return counts.cumsum(1).gather(1, at)
