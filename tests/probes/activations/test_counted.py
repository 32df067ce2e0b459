"""Counting by the compiled table against counting by torch's search, and against comparison."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from build import make_site
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_pan.probes.activations.counted import Counted
from pytest_pan.stats import counts, lookup
from pytest_pan.stats.ks import border_statistics


def counted(monkeypatch: Any, maps: list[Tensor], edges: Tensor, least: float) -> Counted:
    monkeypatch.setattr(lookup, "WORTHWHILE", least)
    channels, height, width = maps[0].shape[1:]
    site = make_site(channels=channels, map=(height, width))
    low, high = (
        torch.stack([end(m.transpose(0, 1).flatten(1), 1) for m in maps])
        for end in (torch.amin, torch.amax)
    )
    found = Counted(site, edges, low.amin(0), high.amax(0))
    for part in maps:
        found.add(part)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 9), (12, 5)])
def test_the_table_counts_what_the_search_counts(monkeypatch, dtype, size) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(n, 5, *size, generator=generator).to(dtype) for n in (3, 1)]
    maps[0][:, 3] = maps[0][:, 3].relu()
    edges = torch.randn(5, 40, generator=generator).to(dtype).sort(1).values
    edges[3, 5:9] = 0
    edges = edges.sort(1).values
    table = counted(monkeypatch, maps, edges, 0)
    search = counted(monkeypatch, maps, edges, float("inf"))
    assert torch.equal(table._counts, search._counts)
    assert torch.equal(table._rings, search._rings)
    assert table._counts[4].sum() == 5 * 4 * (size[0] - 2) * (size[1] - 2)


extremes = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, 1.0, 1.5, 1e-30])


@given(st.lists(extremes, min_size=25, max_size=25), st.lists(extremes, min_size=3, max_size=9))
@settings(max_examples=80, deadline=None)
def test_extreme_values_and_edges_are_counted_as_compared(values, places) -> None:
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, 5, 5)
    edges = torch.tensor([places], dtype=torch.float64).sort(1).values
    with pytest.MonkeyPatch.context() as patch:
        found = counted(patch, [maps], edges, 0)
    slots = (edges[0] <= maps.view(-1, 1)).sum(1).view(5, 5)
    expected = torch.bincount(slots[1:-1, 1:-1].flatten(), minlength=edges.shape[1] + 1)
    assert torch.equal(found._counts[4, 0].long(), expected)
    assert torch.equal(
        found._counts[0, 0].long(), torch.bincount(slots[0], minlength=edges.shape[1] + 1)
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("least", [0, float("inf")])
def test_values_that_are_not_finite_are_noticed_and_harm_nothing(monkeypatch, bad, least) -> None:
    maps = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    edges = counts.make_edges(
        maps.transpose(0, 1).flatten(1), maps.amin((0, 2, 3)), maps.amax((0, 2, 3))
    )
    spoilt = maps.clone()
    spoilt[1, 1, 2, 3] = bad
    found = counted(monkeypatch, [maps, spoilt], edges, least)
    assert found.bad.tolist() == [False, True, False]


def test_statistics_of_counts_hold_the_exact_ones(monkeypatch) -> None:
    maps = torch.randn(40, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    flat = maps.transpose(0, 1)
    lines = [flat[:, :, 0], flat[:, :, -1], flat[:, :, :, 0], flat[:, :, :, -1]]
    exact = border_statistics(
        [line.flatten(1) for line in lines], flat[:, :, 1:-1, 1:-1].flatten(1)
    )
    edges = counts.make_edges(flat[:, :9].flatten(1), flat.amin((1, 2, 3)), flat.amax((1, 2, 3)))
    found = counted(monkeypatch, [maps[:9], maps[9:]], edges, 0).statistics()
    for low, value, high in zip(found.low, exact, found.high, strict=True):
        assert (low <= value + 1e-12).all()
        assert (value <= high + 1e-12).all()
