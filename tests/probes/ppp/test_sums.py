"""PPP of sums against numpy, a known pattern in noise, and the sizes of margins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_pan.probes.ppp.passes import margin_of
from pytest_pan.probes.ppp.sums import Difference, Layerwise, Surroundings, layerwise


def summed(padded: Tensor, true: Tensor, groups: Tensor, batch: int = 5) -> Layerwise:
    """PPP of A and O (N, C, h, w), added batch by batch."""
    count = int(groups.max()) + 1
    around = Surroundings.empty(count, true.shape[1])
    apart = Difference.empty(count, true.shape)
    for at in range(0, len(true), batch):
        part = slice(at, at + batch)
        around.add(true[part], groups[part])
        apart.add(padded[part], true[part], groups[part])
    return layerwise(around, apart, groups.bincount(), splits=count == 8)


def by_definition(padded: Tensor, true: Tensor) -> tuple[float, float]:
    """The formulas, in numpy over all images at once."""
    a, o = padded.numpy(), true.numpy()
    d, n = a - o, len(o)
    sd = math.sqrt(np.mean([o[:, c].var() for c in range(o.shape[1])]))
    noise = d.var(0, ddof=1).sum()
    ratio = ((d.mean(0) ** 2).sum() - noise / n) / noise
    decibels = 10 * math.log10(ratio) if ratio > 0 else -math.inf
    return float(np.abs(d.mean(0)).mean() / sd), decibels


@given(seed=st.integers(0, 1000), batch=st.integers(1, 20), pattern=st.sampled_from([0.1, 2.0]))
def test_sums_give_what_the_formulas_say(seed: int, batch: int, pattern: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    true = torch.randn(19, 3, 4, 5, generator=draw, dtype=torch.float64) + 3
    padded = true + pattern + torch.randn(true.shape, generator=draw, dtype=torch.float64)
    groups = torch.arange(19) % 8
    found = summed(padded, true, groups, batch)
    assert (found.whole.mae, found.whole.snr) == pytest.approx(by_definition(padded, true))
    half = torch.isin(groups, torch.tensor([0, 2, 4, 6]))  # the first of all halves
    expected = by_definition(padded[half], true[half])
    assert (found.halves[0].mae, found.halves[0].snr) == pytest.approx(expected)


def test_noise_alone_is_below_the_noise_about_half_of_the_time_and_never_at_the_floor() -> None:
    draw = torch.Generator().manual_seed(0)
    groups, found = torch.zeros(64, dtype=torch.long), []
    for _ in range(40):
        true = torch.randn(64, 2, 6, 6, generator=draw)
        padded = true + torch.randn(true.shape, generator=draw)
        found.append(summed(padded, true, groups).whole.snr)
    below = sum(math.isinf(each) for each in found)
    assert 10 <= below <= 30
    assert max(found) < -10 * math.log10(64)


def test_a_pattern_as_strong_as_the_noise_has_no_decibels() -> None:
    draw = torch.Generator().manual_seed(1)
    true = torch.randn(64, 4, 20, 20, generator=draw)
    padded = true + 1 + torch.randn(true.shape, generator=draw)
    found = summed(padded, true, torch.zeros(64, dtype=torch.long)).whole
    assert found.snr == pytest.approx(0, abs=0.2)
    assert found.mae == pytest.approx(1, abs=0.05)


def test_a_difference_of_nothing_is_zero_and_below_the_noise() -> None:
    true = torch.randn(8, 2, 3, 3)
    found = summed(true, true, torch.zeros(8, dtype=torch.long)).whole
    assert (found.mae, found.snr) == (0.0, -math.inf)


@pytest.mark.parametrize(
    ("stride", "side", "margin"),
    [
        (32, 480, 128),
        (32, 479, 96),
        (32, 288, 32),
        (32, 287, 0),
        (24, 512, 144),
        (200, 640, 200),
        (1, 480, 128),
    ],
)
def test_the_margin_is_a_multiple_of_the_stride_that_enough_images_allow(
    stride: int, side: int, margin: int
) -> None:
    sizes = [(side, 1000)] * 32 + [(10, 10)]
    assert margin_of((224, 224), stride, sizes, 32) == margin
    assert margin_of((224, 224), stride, sizes[1:], 32) == 0
