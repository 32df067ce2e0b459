"""Bounds of measures that may be negative."""

from __future__ import annotations

import pytest

from pytest_pan import ConfigError
from pytest_pan.config.limits import limits


@pytest.mark.parametrize("keyword", ["min_border_gap", "min_blind_spot_depth", "min_ppp_snr"])
def test_a_signed_number_may_be_limited_far_below_zero(keyword: str) -> None:
    (limit,) = limits(keyword, -20, origin="here")
    assert limit.bound == -20


@pytest.mark.parametrize(
    ("keyword", "allowed"),
    [("max_ppp_mae", "a number from 0,"), ("max_accuracy_drop", "a fraction from -1 to 1,")],
)
def test_other_measures_keep_their_range(keyword: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=allowed):
        limits(keyword, -2, origin="here")
