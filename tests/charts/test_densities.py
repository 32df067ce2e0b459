"""The charts' numbers: areas, axes and marks, computed again from the path data."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from build import make_histogram, make_neuron

from pytest_pan.charts import densities as charts
from pytest_pan.records.neurons import PAN_TYPES, SIDES

TOP = charts.PLOT_HEIGHT


def outline(path: str) -> list[tuple[float, float, float]]:
    """The steps of a path as (left, right, height), read as SVG defines M, H and V."""
    steps = []
    x = y = 0.0
    for command, text in re.findall(r"([MHV])([-0-9. ]+)", path):
        values = [float(value) for value in text.split()]
        if command == "M":
            x, y = values
        elif command == "V":
            y = values[0]
        else:
            steps.append((x, values[0], TOP - y))
            x = values[0]
    return steps


def area(path: str) -> float:
    return sum((right - left) * height for left, right, height in outline(path))


def paths(chart: charts.Chart) -> list[str]:
    return [chart.centre, chart.high or chart.low, *(panel.border for panel in chart.panels)]


@pytest.mark.parametrize("bins", [30, 60, 61, 100, 256])
def test_every_region_of_a_neuron_has_the_same_area(bins: int) -> None:
    chart = charts.chart(make_neuron(), make_histogram("TL", bins=bins))
    areas = [area(path) for path in paths(chart)]
    assert areas == pytest.approx([areas[0]] * 6, rel=0.02)


def test_a_step_path_covers_a_share_of_one() -> None:
    edges = charts.merged_edges(4)
    path = charts.step_path(charts.density((2, 0, 5, 3), edges), edges, peak=1.0)
    assert area(path) / (charts.PLOT_WIDTH / 4 * TOP) == pytest.approx(1.0, abs=0.005)


def test_steps_lie_where_the_counts_are() -> None:
    edges = charts.merged_edges(4)
    path = charts.step_path(charts.density((0, 3, 0, 1), edges), edges, peak=0.75)
    assert outline(path) == [(60, 120, TOP), (180, 240, TOP / 3)]


def test_the_highest_step_of_a_chart_fills_its_panel_and_none_goes_beyond() -> None:
    chart = charts.chart(make_neuron(), make_histogram())
    heights = [height for path in paths(chart) for _, _, height in outline(path)]
    assert max(heights) == TOP
    assert min(heights) > 0


def test_merging_bins_loses_no_value() -> None:
    edges = charts.merged_edges(1000)
    assert len(edges) - 1 <= charts.MAX_BINS
    shares = charts.density([1] * 1000, edges)
    widths = [b - a for a, b in pairwise(edges)]
    assert sum(s * w for s, w in zip(shares, widths, strict=True)) == pytest.approx(1.0)


def test_an_empty_region_draws_nothing() -> None:
    assert charts.step_path(charts.density((0, 0), (0, 1, 2)), (0, 1, 2), 1.0) == ""


def test_a_side_is_held_against_the_end_its_statistic_points_to() -> None:
    low = dict.fromkeys(SIDES, 0.1)
    neuron = make_neuron(type="T", ks_plus=low | {"T": 0.9}, ks_minus=low | {"B": 0.4})
    chart = charts.chart(neuron, make_histogram())
    assert [panel.truncated for panel in chart.panels] == ["high", "low", "high", "high"]


def test_only_the_sides_of_the_type_are_called_pan() -> None:
    chart = charts.chart(make_neuron(type="BR"), make_histogram("BR"))
    assert [panel.side for panel in chart.panels if "PAN" in panel.label] == ["B", "R"]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-10.0, 6.0, ["\N{MINUS SIGN}10", "6", "0"]),
        (0.5, 2.25, ["0.5", "2.25"]),
        (-0.01, 9.0, ["\N{MINUS SIGN}0.01", "9", ""]),
        (3.0, 3.0, ["3"]),
    ],
)
def test_the_axis_names_its_ends_and_a_zero_that_has_room(
    low: float, high: float, labels: list[str]
) -> None:
    assert [tick.text for tick in charts.ticks(low, high)] == labels


def test_zero_stands_where_it_divides_the_axis() -> None:
    zero = next(tick for tick in charts.ticks(-10, 30) if tick.text == "0")
    assert zero.x == charts.PLOT_WIDTH / 4


@pytest.mark.parametrize("name", PAN_TYPES)
def test_a_type_lights_one_stroke_for_each_of_its_sides(name: str) -> None:
    mark = charts.type_mark(name)
    assert (mark.lit.count("M"), mark.unlit.count("M")) == (len(name), 4 - len(name))


def test_left_lies_left_and_bottom_lies_below() -> None:
    found = {s: re.findall(r"\d+", charts.type_mark(s).lit) for s in SIDES}
    assert int(found["L"][0]) < int(found["R"][0])
    assert int(found["T"][1]) < int(found["B"][1])
