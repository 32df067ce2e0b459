"""Limits to start from."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from build import make_audit

from pytest_pan.config import limits as config_limits
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Interval, Measured
from pytest_pan.verdicts.judge import judge
from pytest_pan.verdicts.suggestions import lines, suggested


def measured(name: str, value: float, interval: Interval | None) -> Audit:
    measures = {name: Measured(measure=name, value=value, interval=interval)}
    made = make_audit("net", images={"count": 100})
    return replace(made, measures=measures)


@pytest.mark.parametrize(
    ("end", "bound"),
    [(0.0251, "0.026"), (0.026, "0.026"), (0.25, "0.25"), (0.0, "0.0")],
)
def test_a_bound_is_the_upper_end_rounded_up_to_two_digits(end: float, bound: str) -> None:
    found = suggested(measured("pan_fraction", 0.0, (0.0, end)))
    assert found == {"max_pan_fraction": bound}


@pytest.mark.parametrize("end", [1e-9, 0.001, 0.1, 0.3, 0.7, 2 / 3, 9.95, 12.01, 1234.5])
def test_the_audit_that_suggested_a_bound_passes_it(end: float) -> None:
    audit = measured("log_odds_ratio", end / 2, (end / 3, end))
    ((keyword, bound),) = suggested(audit).items()
    (verdict,) = judge(audit, config_limits.limits(keyword, float(bound), origin="here"))
    assert verdict.outcome == "pass"
    assert float(bound) <= end * 1.1


def test_the_table_is_toml_with_the_bounds_of_the_marker() -> None:
    audit = measured("pan_fraction", 0.01, (0.0, 0.02))
    _, marker, _, *table = lines(audit)
    assert marker.strip() == "@pytest.mark.pan(max_pan_fraction=0.02)"
    parsed = tomllib.loads("\n".join(table))
    assert parsed == {"tool": {"pan": {"limits": {"max_pan_fraction": 0.02}}}}


def test_without_an_interval_or_a_complete_audit_there_is_no_bound_and_the_line_says_why() -> None:
    few, all_of_it = measured("pan_fraction", 0.01, None), measured("pan_fraction", 0.5, (0.1, 1))
    partial = replace(measured("pan_fraction", 0.01, (0.0, 0.02)), partial="stopped")
    assert suggested(few) == suggested(all_of_it) == suggested(partial) == {}
    assert "no interval" in next(lines(few))
    assert "partial" in next(lines(partial))
