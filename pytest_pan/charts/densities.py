"""Chart data: step densities of a neuron's regions, and symbols of the PAN types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_pan.records.neurons import PAN_TYPES, SIDES, Histogram, Neuron

SIDE_WORDS = {"T": "top", "B": "bottom", "L": "left", "R": "right"}

PLOT_WIDTH, PLOT_HEIGHT = 240, 72
"""Size of a panel's plot, in view box units."""

MAX_BINS = 60
"""Maximum number of steps; finer histograms are merged so that a step is at least 4 units wide."""

_LABEL_ROOM = 0.14
"""Fraction of the axis at either end that is occupied by the end's label."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Tick on the horizontal axis; ``text`` is empty if there is no room for it."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Panel that compares one border to the centre and to the truncated centre."""

    side: str
    label: str
    is_pan: bool
    border: str
    truncated: str
    """The truncated centre shown: ``high`` or ``low``."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Densities of a neuron: four panels with common axes and centres."""

    centre: str
    high: str
    low: str
    panels: tuple[Panel, ...]
    ticks: tuple[Tick, ...]
    description: str


@dataclass(frozen=True, slots=True)
class TypeMark:
    """Symbol of a PAN type: a square whose ``lit`` path draws its sides, ``unlit`` the others."""

    name: str
    lit: str
    unlit: str


def words(type: str) -> str:
    """Spell out sides: ``"TL"`` -> ``top, left``."""
    return ", ".join(SIDE_WORDS[side] for side in type)


def number(value: float) -> str:
    """Format a number with three significant digits and a typographic minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def chart(neuron: Neuron, histogram: Histogram) -> Chart:
    """Build the densities of the paper's Figures 3 and 6, each region normalised by its total.

    A side is shown with the truncated centre of its larger one-sided statistic: the highest values
    for KS+, the lowest for KS-.
    """
    ends = {s: "high" if neuron.ks_plus[s] >= neuron.ks_minus[s] else "low" for s in SIDES}
    drawn = [*SIDES, "centre", *sorted({f"centre_{end}" for end in ends.values()})]
    edges = merged_edges(max((len(c) for c in histogram.counts.values()), default=0))
    densities = {r: density(histogram.counts.get(r, ()), edges) for r in drawn}
    peak = max((max(d, default=0.0) for d in densities.values()), default=0.0)
    paths = {region: step_path(d, edges, peak) for region, d in densities.items()}
    low, high = number(histogram.low), number(histogram.high)
    return Chart(
        centre=paths["centre"],
        high=paths.get("centre_high", ""),
        low=paths.get("centre_low", ""),
        panels=tuple(_panel(neuron, s, paths[s], ends[s]) for s in SIDES),
        ticks=ticks(histogram.low, histogram.high),
        description=f"Densities from {low} to {high}: each border against the centre and "
        "the truncated centre. The table gives the statistics.",
    )


def _panel(neuron: Neuron, side: str, border: str, end: str) -> Panel:
    is_pan = side in str(neuron.type)
    sign, by_side = ("⁺", neuron.ks_plus) if end == "high" else ("⁻", neuron.ks_minus)
    label = f"{SIDE_WORDS[side]}{', PAN' if is_pan else ''}: KS{sign} {by_side[side]:.2f}"
    return Panel(side, label, is_pan, border, end)


def merged_edges(bins: int, most: int = MAX_BINS) -> tuple[int, ...]:
    """Return the bin indices at which drawn steps start and end, for at most ``most`` steps."""
    stride = max(1, math.ceil(bins / most))
    return (*range(0, bins, stride), bins)


def density(counts: Sequence[int], edges: Sequence[int]) -> tuple[float, ...]:
    """Return the fraction of values per original bin, for each step; empty for an empty region."""
    total = sum(counts)
    if not total:
        return ()
    return tuple(sum(counts[a:b]) / total / (b - a) for a, b in pairwise(edges))


def step_path(
    densities: Sequence[float],
    edges: Sequence[int],
    peak: float,
    size: tuple[int, int] = (PLOT_WIDTH, PLOT_HEIGHT),
) -> str:
    """Return the SVG path of a step line, closed to the base line; empty steps are not drawn.

    A step of height ``peak`` has the full plot height; the base line is at the bottom.
    """
    width, tallest = size
    parts: list[str] = []
    level = 0.0
    for value, (first, last) in zip(densities, pairwise(edges), strict=False):
        height = _short(tallest * value / peak)
        if height != level:
            left = _short(width * first / edges[-1])
            parts.append(_rise(left, level, height, tallest))
        if height:
            right = _short(width * last / edges[-1])
            parts.append(f"H{right:g}")
        level = height
    if level:
        parts.append(f"V{tallest}")
    return _join(parts)


def _short(value: float) -> float:
    return round(value, 1)


def _rise(x: float, level: float, height: float, base: int) -> str:
    """Return the vertical path command to a step; after a gap it starts from the base line."""
    start = "" if level else f"M{x:g} {base}"
    return f"{start}V{_short(base - height):g}"


def _join(parts: Sequence[str]) -> str:
    """Join path commands; of consecutive horizontal lines only the last is kept."""
    kept = [a for a, b in pairwise(parts) if not (a.startswith("H") and b.startswith("H"))]
    return "".join([*kept, *parts[-1:]])


def ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Return ticks at both ends of the axis, and at zero if it lies between them."""
    if not low < high:
        return (Tick(0, number(low), "start"),)
    ends = (Tick(0, number(low), "start"), Tick(PLOT_WIDTH, number(high), "end"))
    if not low < 0 < high:
        return ends
    share = -low / (high - low)
    room = _LABEL_ROOM < share < 1 - _LABEL_ROOM
    return (*ends, Tick(_short(PLOT_WIDTH * share), "0" if room else "", "middle"))


_STROKES = {"T": "M2 3H18", "B": "M2 17H18", "L": "M3 2V18", "R": "M17 2V18"}


def type_mark(name: str) -> TypeMark:
    """Return the symbol of one type, in a view box of 20 by 20."""
    lit = "".join(_STROKES[side] for side in SIDES if side in name)
    return TypeMark(name, lit, "".join(_STROKES[side] for side in SIDES if side not in name))


TYPE_MARKS: tuple[TypeMark, ...] = tuple(type_mark(name) for name in PAN_TYPES)
