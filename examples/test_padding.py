"""Padding must not have become a feature that these networks spend neurons on."""

from __future__ import annotations

import networks
import pytest

from pytest_pan import Audit


@pytest.mark.pan(max_pan_fraction=0.03, max_layer_pan_fraction=0.25)
def test_padding_is_not_a_feature() -> None:
    """The marker is the test: pytest-pan audits pan_model and holds it against the limits."""


def test_no_neuron_reads_three_borders_early_on(pan_audit: Audit) -> None:
    """The same audit by hand: every neuron is there to be asked about."""
    early = pan_audit.pans(layer="features.[1-3].*")
    assert not [neuron for neuron in early if len(neuron.type) == 3]


def test_padding_before_the_convolution_counts_too(pan) -> None:  # type: ignore[no-untyped-def]
    """The factory audits any model: this one pads by a module of its own, and unevenly."""
    images = networks.photographs(mean=[0.5] * 3, std=[0.5] * 3)
    lite = pan(networks.efficientnet_lite0(), images, name="EfficientNet-Lite0")
    assert lite.pan_fraction <= 0.03
