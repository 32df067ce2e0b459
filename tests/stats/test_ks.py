"""The batched statistics against scipy, one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import statistics

from pytest_pan.stats.ks import TooFewCentreValuesError, border_statistics, finite_rows, sort_rows

ATOL = 1e-12

grids = st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, 5e-324, -5e-324, 1e300, -1e300, 1e-30])
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
small_integers = st.integers(-3, 3).map(float)


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A border (C, n) and a centre (C, m >= n), of reals, of few values, or of extremes."""
    values = draw(st.sampled_from([floats, small_integers, grids]))
    channels, n = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    m = draw(st.integers(n, 40))
    border = draw(arrays(np.float64, (channels, n), elements=values))
    return border, draw(arrays(np.float64, (channels, m), elements=values))


@given(samples())
@settings(max_examples=300, deadline=None)
def test_statistics_are_scipys_for_any_samples_with_ties_and_extremes(drawn) -> None:
    border, centre = drawn
    ours = border_statistics([torch.from_numpy(border)], torch.from_numpy(centre))
    for channel in range(len(border)):
        theirs = statistics(border[channel], centre[channel])
        mine = [float(statistic[0, channel]) for statistic in ours]
        np.testing.assert_allclose(mine, theirs, atol=ATOL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_gives_scipys_statistics_of_the_same_values(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    border = torch.randn(5, 300, generator=generator).to(dtype)
    centre = (torch.randn(5, 4000, generator=generator) + 0.5).to(dtype)
    ours = border_statistics([border], centre)
    for channel in range(5):
        theirs = statistics(border[channel].double().numpy(), centre[channel].double().numpy())
        mine = [float(statistic[0, channel]) for statistic in ours]
        np.testing.assert_allclose(mine, theirs, atol=ATOL)


def test_many_rows_in_threads_are_scipys_too() -> None:
    generator = torch.Generator().manual_seed(2)
    border = torch.randn(33, 200, generator=generator).relu()
    centre = torch.randn(33, 9000, generator=generator).relu()
    ours = border_statistics([border, -border], centre)
    for channel in (0, 16, 32):
        for which, sign in enumerate((1, -1)):
            theirs = statistics(sign * border[channel].numpy(), centre[channel].numpy())
            mine = [float(statistic[which, channel]) for statistic in ours]
            np.testing.assert_allclose(mine, theirs, atol=ATOL)


def test_a_border_wholly_above_the_centre_is_1_1_0_and_wholly_below_1_0_1() -> None:
    centre = torch.rand(1, 50)
    above, below = torch.full((1, 7), 2.0), torch.full((1, 7), -2.0)
    ours = border_statistics([above, below], centre)
    assert torch.stack(ours)[:, :, 0].tolist() == [[1, 1], [1, 0], [0, 1]]


def test_a_border_drawn_like_the_centre_has_small_one_sided_statistics() -> None:
    """Arguments in the wrong order would give about 0.97 here."""
    generator = torch.Generator().manual_seed(3)
    ours = border_statistics(
        [torch.randn(1, 1000, generator=generator)], torch.randn(1, 30000, generator=generator)
    )
    assert float(ours.plus) < 0.05
    assert float(ours.minus) < 0.05


def test_a_constant_border_equal_to_a_constant_centre_is_nothing_at_all() -> None:
    ours = border_statistics([torch.zeros(2, 4)], torch.tensor([[0.0], [-0.0]]).expand(2, 9))
    assert torch.stack(ours).abs().sum() == 0


def test_as_many_centre_values_as_border_values_are_enough_and_one_fewer_is_refused() -> None:
    border_statistics([torch.rand(1, 5)], torch.rand(1, 5))
    with pytest.raises(TooFewCentreValuesError, match="4 centre values for 5"):
        border_statistics([torch.rand(1, 5)], torch.rand(1, 4))


def test_the_arguments_are_left_unsorted() -> None:
    border, centre = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[9.0, 7.0, 8.0, 1.0]])
    before = border.clone(), centre.clone()
    border_statistics([border], centre)
    assert torch.equal(border, before[0])
    assert torch.equal(centre, before[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_shows_at_an_end_of_its_sorted_row(bad: float) -> None:
    rows = torch.rand(3, 9)
    rows[1, 4] = bad
    assert finite_rows(sort_rows(rows)).tolist() == [True, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: this path has not run")
def test_the_gpu_gives_the_cpus_statistics_bit_for_bit() -> None:
    border, centre = torch.randn(64, 500).relu(), torch.randn(64, 8000).relu()
    here = border_statistics([border, -border], centre)
    there = border_statistics([border.cuda(), -border.cuda()], centre.cuda())
    for cpu, gpu in zip(here, there, strict=True):
        assert torch.equal(cpu, gpu.cpu())
