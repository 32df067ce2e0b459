"""Graph data: sorted log-odds of the classes, their histogram, and shares by distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_pan.charts.densities import number, step_path

GRAPH_WIDTH, GRAPH_HEIGHT = 420, 190
"""Size of a graph's plot, in view box units."""

POINTS = 240
"""Maximum number of points of a line; more classes are thinned to order statistics, ends included.
"""

GRID = 0.05
"""Log-odds of the grid lines in the paper's Figure 9: a change of the odds by 5 %."""

BINS = 40
STEEP = 5
"""Ratio of the draws' peak to the PANs' peak above which counts use a square-root scale."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Line of a graph; ``kind`` is pan, draw or whole."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Labelled position on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Lines on common axes, with marks on the horizontal (across) and vertical (upwards) axis."""

    title: str
    description: str
    curves: tuple[Curve, ...]
    across: tuple[Mark, ...]
    upwards: tuple[Mark, ...]
    grid: tuple[float, ...]
    zero: float | None
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Linear axis from ``low`` to ``high`` over ``length`` units; negative lengths run upwards."""

    low: float
    high: float
    length: float

    def at(self, value: float) -> float:
        """Return the position of a value, in view box units."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.length * share if self.length > 0 else -self.length * (1 - share), 1)

    def marks(self, most: int) -> tuple[Mark, ...]:
        """Return marks at multiples of a round step, at most ``most + 1``."""
        step = round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(Mark(self.at(n * step), number(n * step)) for n in range(first, last + 1))


def round_step(least: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten >= ``least``; 0.01 if not positive."""
    if least <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(least))
    return next((f * power for f in (1, 2, 5) if f * power >= least * (1 - 1e-9)), 10 * power)


def order_statistics(values: Sequence[float], most: int = POINTS) -> tuple[tuple[int, float], ...]:
    """Return (rank, value) in ascending order, from rank 0, thinned evenly with both ends kept."""
    ranked = sorted(values)
    last = len(ranked) - 1
    count = min(len(ranked), most)
    ranks = [round(i * last / (count - 1)) for i in range(count)] if count > 1 else [*range(count)]
    return tuple((rank, ranked[rank]) for rank in ranks)


def ordered_graph(
    title: str, lines: Sequence[tuple[str, Sequence[float]]], description: str
) -> Graph:
    """Build the paper's Figure 9: log-odds of the classes in ascending order, one line per plan."""
    values = [value for _, line in lines for value in line]
    low, high = min([-GRID, *values]), max([GRID, *values])
    margin = 0.03 * (high - low)
    upwards = Axis(low - margin, high + margin, -GRAPH_HEIGHT)
    classes = max(len(line) for _, line in lines)
    across = Axis(0, max(classes - 1, 1), GRAPH_WIDTH)
    return Graph(
        title=title,
        description=description,
        curves=tuple(Curve(kind, _line(order_statistics(v), across, upwards)) for kind, v in lines),
        across=tuple(Mark(across.at(n - 1), f"{n:,}") for n in dict.fromkeys((1, classes))),
        upwards=upwards.marks(6),
        grid=(upwards.at(-GRID), upwards.at(GRID)),
        zero=upwards.at(0),
        x_label="classes, sorted separately for each line",
        y_label="log-odds (dotted: ±0.05)",
    )


def _line(points: Sequence[tuple[float, float]], across: Axis, upwards: Axis) -> str:
    """Return the path through the points; a single point becomes a full-width line."""
    if len(points) == 1:
        return f"M0 {upwards.at(points[0][1]):g}H{GRAPH_WIDTH}"
    return "M" + " ".join(f"{across.at(x):g} {upwards.at(y):g}" for x, y in points)


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Numbers of classes by log-odds, in bins of width ``step``.

    Bin 0 is centred on zero, ``first`` is the index of the lowest bin, and ``draws`` holds the mean
    counts over the draws.
    """

    step: float
    first: int
    pan: tuple[int, ...]
    draws: tuple[float, ...]


def class_counts(pan: Sequence[float], draws: Sequence[Sequence[float]]) -> ClassCounts:
    """Count classes in common bins for the PANs and the draws that cover every class."""
    values = [*pan, *(value for draw in draws for value in draw)]
    step = round_step((max(values) - min(values)) / BINS)
    first, last = _bin(min(values), step), _bin(max(values), step)
    counts = [[0] * (last - first + 1) for _ in range(1 + len(draws))]
    for line, row in zip([pan, *draws], counts, strict=True):
        for value in line:
            row[_bin(value, step) - first] += 1
    means = (sum(column) / len(draws) for column in zip(*counts[1:], strict=True))
    return ClassCounts(step, first, tuple(counts[0]), tuple(means))


def _bin(value: float, step: float) -> int:
    return math.floor(value / step + 0.5)


def histogram_graph(
    title: str, pan: Sequence[float], draws: Sequence[Sequence[float]], description: str
) -> Graph:
    """Build the paper's Figure 10: the histogram of the classes' log-odds."""
    counts = class_counts(pan, draws)
    peak = max(*counts.pan, *counts.draws, 1)
    is_steep = bool(draws) and max(counts.draws) > STEEP * max(counts.pan)
    scale = math.sqrt if is_steep else float
    bins = len(counts.pan)
    edges = tuple(range(bins + 1))
    low = (counts.first - 0.5) * counts.step
    across = Axis(low, low + bins * counts.step, GRAPH_WIDTH)
    rise = Axis(0, scale(peak), -GRAPH_HEIGHT)
    shares = (0, 0.1, 0.4, 1) if is_steep else (0, 0.5, 1)
    size = (GRAPH_WIDTH, GRAPH_HEIGHT)
    return Graph(
        title=title,
        description=description,
        curves=tuple(
            Curve(kind, step_path([scale(c) for c in row], edges, scale(peak), size))
            for kind, row in (("draw", counts.draws), ("pan", counts.pan))
        ),
        across=across.marks(8),
        upwards=tuple(
            Mark(rise.at(scale(value)), f"{value:,}")
            for value in sorted({round(peak * share) for share in shares})
            if value <= peak
        ),
        grid=(),
        zero=None,
        x_label="log-odds",
        y_label="classes" + (", on a square-root scale" if is_steep else ""),
    )


def share_graph(
    title: str, lines: Sequence[tuple[str, Sequence[float]]], description: str
) -> Graph:
    """Build the graph of shares by distance to the border."""
    low = min(value for _, line in lines for value in line)
    rise = Axis(min(low, 0.99), 1.0, -GRAPH_HEIGHT)
    last = max(len(line) for _, line in lines) - 1
    across = Axis(0, max(last, 1), GRAPH_WIDTH)
    return Graph(
        title=title,
        description=description,
        curves=tuple(Curve(kind, _line([*enumerate(line)], across, rise)) for kind, line in lines),
        across=tuple(Mark(across.at(n), str(n)) for n in range(last + 1)),
        upwards=rise.marks(5),
        grid=(),
        zero=None,
        x_label="distance to the border, in sixteenths of half the shorter side",
        y_label="share of pixels with unchanged class",
    )
