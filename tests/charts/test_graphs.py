"""The graphs' numbers, read back from the path data, against arithmetic done here."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise

import pytest
from build import make_influence

from pytest_pan.charts import graphs

WIDTH, HEIGHT = graphs.GRAPH_WIDTH, graphs.GRAPH_HEIGHT
ENDS = 0.1
"""Half the rounding of a coordinate, twice over."""


def points(path: str) -> list[tuple[float, float]]:
    """Points of a path of one M and implicit line commands."""
    assert re.fullmatch(r"M[-0-9. ]+", path)
    numbers = [float(text) for text in path[1:].split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def value_at(graph: graphs.Graph, y: float) -> float:
    """Log-odds at a height, by the zero line and the grid at 0.05, which lie where they say."""
    assert graph.zero is not None
    unit = (graph.grid[0] - graph.grid[1]) / 0.1
    return (graph.zero - y) / unit


def spread(count: int, scale: float, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0, scale) for _ in range(count)]


@pytest.mark.parametrize("classes", [2, 5, 240, 241, 1000, 5000])
def test_an_ordered_line_rises_and_never_turns_back(classes: int) -> None:
    graph = graphs.ordered_graph("", [("pan", spread(classes, 0.05))], "")
    found = points(graph.curves[0].path)
    assert all(x1 < x2 and y1 >= y2 for (x1, y1), (x2, y2) in pairwise(found))
    assert len(found) == min(classes, graphs.POINTS)


@pytest.mark.parametrize("scale", [0.001, 0.05, 2.0])
def test_an_ordered_line_ends_at_the_smallest_and_the_largest_change(scale: float) -> None:
    values = spread(1000, scale)
    graph = graphs.ordered_graph("", [("pan", values), ("draw", spread(1000, scale / 4, 1))], "")
    found = points(graph.curves[0].path)
    assert (found[0][0], found[-1][0]) == (0, WIDTH)
    per_unit = 0.1 / (graph.grid[0] - graph.grid[1])
    assert value_at(graph, found[0][1]) == pytest.approx(min(values), rel=0.1, abs=2 * per_unit)
    assert value_at(graph, found[-1][1]) == pytest.approx(max(values), rel=0.1, abs=2 * per_unit)


def test_a_thinned_line_has_only_classes_that_there_are() -> None:
    values = spread(1000, 0.05)
    ranked = sorted(values)
    found = graphs.order_statistics(values)
    assert [ranked[rank] for rank, _ in found] == [value for _, value in found]
    gaps = {b - a for (a, _), (b, _) in pairwise(found)}
    assert max(gaps) - min(gaps) <= 1


def test_the_scale_contains_five_percent_however_small_the_changes() -> None:
    graph = graphs.ordered_graph("", [("pan", [1e-6, -1e-6, 0.0])], "")
    assert all(0 < y < HEIGHT for y in graph.grid)


def test_every_plan_has_its_own_line() -> None:
    lines = [("draw", [0.1, 0.2]), ("draw", [0.2, 0.3]), ("pan", [0.5, 0.6])]
    graph = graphs.ordered_graph("", lines, "")
    assert [curve.kind for curve in graph.curves] == ["draw", "draw", "pan"]
    heights = [points(curve.path)[0][1] for curve in graph.curves]
    assert heights == sorted(heights, reverse=True)


def test_a_single_class_is_a_line_all_across() -> None:
    assert graphs.ordered_graph("", [("pan", [0.0])], "").curves[0].path.endswith(f"H{WIDTH}")


@pytest.mark.parametrize("scale", [0.0, 1e-9, 0.05, 3.0])
@pytest.mark.parametrize("draws", [0, 1, 3])
def test_the_counts_of_the_histogram_sum_to_the_classes(scale: float, draws: int) -> None:
    pan = spread(1000, scale)
    counts = graphs.class_counts(pan, [spread(1000, scale / 5, 1 + n) for n in range(draws)])
    assert sum(counts.pan) == 1000
    assert sum(counts.draws) == pytest.approx(1000 if draws else 0)


def test_every_class_is_counted_in_the_bin_around_its_change() -> None:
    pan = spread(500, 0.05)
    counts = graphs.class_counts(pan, [])
    nearest = Counter(round(value / counts.step) for value in pan)
    assert dict(nearest) == {
        number: count for number, count in enumerate(counts.pan, counts.first) if count
    }


def test_the_draws_count_by_their_mean() -> None:
    counts = graphs.class_counts([-0.4, 0.4], [[0.0, 0.0], [0.0, 0.4], [0.0, 0.4]])
    by_bin = dict(enumerate(counts.draws, counts.first))
    assert by_bin[0] == pytest.approx(4 / 3)
    assert by_bin[round(0.4 / counts.step)] == pytest.approx(2 / 3)


def test_a_steep_control_does_not_flatten_the_pans() -> None:
    pan, draw = spread(1000, 0.05), [0.0] * 1000
    graph = graphs.histogram_graph("", pan, [draw], "")
    path = next(curve.path for curve in graph.curves if curve.kind == "pan")
    top = min(float(y) for y in re.findall(r"V([-0-9.]+)", path))
    assert (HEIGHT - top) / HEIGHT > 0.2
    assert "square-root" in graph.y_label


def test_marks_stand_where_their_numbers_are() -> None:
    axis = graphs.Axis(-0.3, 0.9, WIDTH)
    for mark in axis.marks(6):
        value = float(mark.text.replace("\N{MINUS SIGN}", "-"))
        assert mark.at == pytest.approx(WIDTH * (value + 0.3) / 1.2, abs=ENDS)


@pytest.mark.parametrize(
    ("least", "step"), [(0.003, 0.005), (0.02, 0.02), (1.1, 2), (6, 10), (0, 0.01)]
)
def test_steps_are_round(least: float, step: float) -> None:
    assert graphs.round_step(least) == pytest.approx(step)


def test_shares_by_distance_fall_where_they_are() -> None:
    shares = make_influence(by_distance=(0.5, 0.75, 1.0)).by_distance
    graph = graphs.share_graph("", [("pan", shares)], "")
    assert points(graph.curves[0].path) == [(0, HEIGHT), (WIDTH / 2, HEIGHT / 2), (WIDTH, 0)]
