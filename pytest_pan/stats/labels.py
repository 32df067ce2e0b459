"""Labels derived from the statistics: edge detectors, PANs and their types."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_pan.stats.ks import KS


def edge_detectors(ks: KS, theta: float) -> Tensor:
    """Return the sides on which each neuron is an edge detector, ``KS >= theta``: (4, C) bool."""
    return ks.two_sided >= theta


def pans(ks: KS, theta: float) -> Tensor:
    """Return the sides on which each neuron is a PAN: (4, C) bool.

    A PAN is an edge detector whose border values also lie beyond the truncated centre,
    ``max(KS+, KS-) >= theta`` (PAN section 3.2).
    """
    return edge_detectors(ks, theta) & (torch.maximum(ks.plus, ks.minus) >= theta)


def side_bits(sides: Tensor) -> Tensor:
    """Encode sides as the bits of a ``Side``, T B L R = 1 2 4 8: (4, C) bool -> (C,) int."""
    weights = torch.tensor([1, 2, 4, 8], device=sides.device)
    return (sides * weights[:, None]).sum(0)
