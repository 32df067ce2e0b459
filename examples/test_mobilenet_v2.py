"""MobileNetV2's padding must not have become a feature that it spends neurons on."""

from __future__ import annotations

import pytest

from pytest_pan import Audit


@pytest.mark.pan(max_pan_fraction=0.03, max_layer_pan_fraction=0.25)
def test_padding_is_not_a_feature() -> None:
    """The marker is the test: pan_model is audited on pan_images and held against the limits."""


@pytest.mark.pan(max_mean_log_odds_shift=0.25, max_accuracy_drop=0.05, max_pan_floor=0.002)
def test_predictions_do_not_lean_on_it() -> None:
    """With the PANs' padding reflected, the odds of a class may change by a quarter on average."""


def test_the_first_layer_has_no_corner_detector(pan_audit: Audit) -> None:
    """The same audit by hand: every padding aware neuron is there to be asked about."""
    first = pan_audit.pans(layer="features.0.*")
    assert not [neuron for neuron in first if str(neuron.type) in ("TL", "TR", "BL", "BR")]
