"""From statistics to types, on tables small enough to do by hand."""

from __future__ import annotations

import torch

from pytest_pan.records.neurons import PAN_TYPES, Side
from pytest_pan.stats.ks import KS
from pytest_pan.stats.labels import edge_detectors, pans, side_bits


def table(two_sided: list[float], plus: list[float], minus: list[float]) -> KS:
    """Four sides of one neuron."""
    columns = (torch.tensor([column], dtype=torch.float64).T for column in (two_sided, plus, minus))
    return KS(*columns)


def test_a_pan_needs_the_whole_centre_and_one_of_the_truncated_ones() -> None:
    ks = table([0.9, 0.9, 0.9, 0.4], [0.6, 0.0, 0.1, 0.9], [0.0, 0.6, 0.2, 0.9])
    assert edge_detectors(ks, 0.5)[:, 0].tolist() == [True, True, True, False]
    assert pans(ks, 0.5)[:, 0].tolist() == [True, True, False, False]


def test_a_statistic_of_exactly_theta_counts() -> None:
    ks = table([0.5] * 4, [0.5, 0.25, 0, 0], [0, 0, 0.5, 0])
    assert pans(ks, 0.5)[:, 0].tolist() == [True, False, True, False]


def test_every_combination_of_sides_has_its_own_type() -> None:
    combinations = torch.tensor([[bool(i & 1 << s) for i in range(16)] for s in range(4)])
    types = [str(Side(bits)) for bits in side_bits(combinations).tolist()]
    assert types[0] == ""
    assert sorted(types[1:]) == sorted(PAN_TYPES)
    assert types[0b0101] == "TL"
