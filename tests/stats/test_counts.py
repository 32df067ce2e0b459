"""Counts between edges: the bounds hold whatever the samples, and are as narrow as said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pytest_pan.stats import counts
from pytest_pan.stats.ks import border_statistics

grids = st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, 5e-324, -5e-324, 1e300, -1e300, 1e-30])
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
few = st.integers(-3, 3).map(float)


@st.composite
def samples(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """A border (C, n), a centre (C, m >= n), and any edges (C, E), sorted."""
    values = draw(st.sampled_from([floats, few, grids]))
    channels, n = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    m = draw(st.integers(n, 40))
    shapes = ((channels, n), (channels, m), (channels, draw(st.integers(1, 9))))
    border, centre, edges = (
        torch.from_numpy(draw(arrays(np.float64, shape, elements=values))) for shape in shapes
    )
    return border, centre, edges.sort(1).values


def counted(border: Tensor, centre: Tensor, edges: Tensor) -> counts.Bounds:
    return counts.bounds(
        [counts.count_in_slots(border, edges)], counts.count_in_slots(centre, edges), edges
    )


@given(samples())
@settings(max_examples=300, deadline=None)
def test_the_exact_statistics_lie_within_the_bounds_whatever_the_edges(drawn) -> None:
    border, centre, edges = drawn
    exact = border_statistics([border], centre)
    found = counted(border, centre, edges)
    for low, value, high in zip(found.low, exact, found.high, strict=True):
        assert (low <= value + 1e-15).all()
        assert (value <= high + 1e-15).all()
    for middle, value in zip(found.middle, exact, strict=True):
        assert ((middle - value).abs() <= found.error + 1e-15).all()


@given(samples())
@settings(max_examples=200, deadline=None)
def test_edges_of_all_the_border_values_make_the_statistics_exact(drawn) -> None:
    border, centre, _ = drawn
    pooled = torch.cat([border, centre], 1)
    edges = counts.make_edges(torch.cat([border, border], 1), pooled.amin(1), pooled.amax(1))
    exact = border_statistics([border], centre)
    found = counted(border, centre, edges)
    for low, value, high in zip(found.low, exact, found.high, strict=True):
        assert torch.equal(low, value)
        assert torch.equal(high, value)


@given(samples(), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_counts_of_parts_add_up_to_those_of_the_whole(drawn, cut: int) -> None:
    _, centre, edges = drawn
    parts = counts.count_in_slots(centre[:, :cut], edges) + counts.count_in_slots(
        centre[:, cut:], edges
    )
    assert torch.equal(parts, counts.count_in_slots(centre, edges))


def test_slots_are_those_of_a_comparison_value_by_value() -> None:
    edges = torch.tensor([[0.0, 0.0, 1.0, 2.0]])
    values = torch.tensor([[-1.0, -0.0, 0.5, 1.0, 1.5, 2.0, 9.0]])
    expected = [int((edges[0] <= value).sum()) for value in values[0]]
    assert expected == [0, 2, 2, 3, 3, 4, 4]
    assert counts.count_in_slots(values, edges).tolist() == [[expected.count(s) for s in range(5)]]


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0, 4.0])
def test_edges_from_the_first_images_keep_the_error_below_a_512th(shift: float) -> None:
    generator = torch.Generator().manual_seed(3)
    borders = [torch.randn(8, 60_000, generator=generator) * (1 + side) for side in range(4)]
    centre = torch.randn(8, 500_000, generator=generator) * 2 + shift
    pilot = torch.cat([border[:, :2048] for border in borders], 1)
    edges = counts.make_edges(pilot, pilot.amin(1), pilot.amax(1))
    sides = [counts.count_in_slots(border, edges) for border in borders]
    found = counts.bounds(sides, counts.count_in_slots(centre, edges), edges)
    exact = border_statistics(borders, centre)
    assert float(found.error.max()) <= 1 / 512
    for middle, value in zip(found.middle, exact, strict=True):
        assert ((middle - value).abs() <= found.error + 1e-15).all()


def test_coarser_counts_are_the_counts_between_every_so_manieth_edge() -> None:
    generator = torch.Generator().manual_seed(4)
    edges = torch.randn(3, 100, generator=generator).sort(1).values
    values = torch.randn(3, 500, generator=generator)
    thinned = counts.count_in_slots(values, edges[:, :: counts.COARSE].contiguous())
    assert torch.equal(counts.coarsen(counts.count_in_slots(values, edges)), thinned)


def test_what_is_below_the_bins_of_a_histogram_is_exact() -> None:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(3, 5000, generator=generator)
    low, high = values.amin(1), values.amax(1)
    edges = counts.make_edges(values[:, :300], low, high)
    below = counts.below_bin_edges(counts.count_in_slots(values, edges), edges, low, high)
    ends = counts.bin_edges(low, high)[:, 1:-1]
    assert torch.equal(below, (values[:, None] < ends[:, :, None]).sum(2))


def test_the_truncated_centre_is_that_of_sorted_values() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    points = torch.tensor([0.5, 1.5, 3.5, 9.0])
    below = (values[:, None] < points[:, None]).sum(2)
    high, low = counts.truncated(below, 5, 2)
    assert high.tolist() == [[int((values[0, 3:] < point).sum()) for point in points]]
    assert low.tolist() == [[int((values[0, :2] < point).sum()) for point in points]]


@pytest.mark.parametrize("images", [900_000, 1_281_167, 50_000_000])
def test_bounds_hold_for_any_number_of_images(images: int) -> None:
    """As many equal maps of 224x224 as would overflow the product of both sizes."""
    size, edges = 224, torch.tensor([[0.0, 1.0]])
    border = images * size * torch.tensor([[0, 1, 0]]) // 1
    centre = images * (size - 2) ** 2 // 2 * torch.tensor([[1, 1, 0]])
    found = counts.bounds([border], centre, edges)
    assert float(found.low.two_sided) == pytest.approx(0.5)
    assert float(found.high.two_sided) == pytest.approx(0.5, abs=0.51)
    assert 0.5 <= float(found.high.two_sided) <= 1
