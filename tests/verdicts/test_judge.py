"""Limits on layers by glob: who bounds which layer, and that none bounds nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from build import make_audit, make_neuron, make_site

from pytest_pan import ConfigError
from pytest_pan.config import limits as config_limits
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.verdicts.judge import explain, judge

CHANNELS = 10
PANS = {"stem.conv": 4, "features.0.conv": 1, "features.1.conv": 2, "head": 0}
"""A net of four layers of ten channels, with so many PANs each."""


@pytest.fixture(scope="module")
def audit() -> Audit:
    sites = [make_site(name, channels=CHANNELS) for name in PANS]
    neurons = [make_neuron(name, c) for name, count in PANS.items() for c in range(count)]
    skips = (Skip(what="features.0.expand", why="1x1 kernel"),)
    return make_audit("net", sites=sites, neurons=neurons, skips=skips)


def held(audit: Audit, keyword: str, bound: Any) -> dict[str, Verdict]:
    limits = config_limits.limits(keyword, bound, origin="here")
    return {verdict.limit.keyword: verdict for verdict in judge(audit, limits)}


def test_the_worst_layer_that_a_glob_matches_is_held_against_its_bound(audit: Audit) -> None:
    verdicts = held(audit, "max_pan_fraction", {"features.*": 0.2})
    assert [v.value for v in verdicts.values()] == [0.2]
    assert verdicts["max_pan_fraction[features.*]"].outcome == "pass"
    (low,) = held(audit, "min_pan_count", {"features.*": 2}).values()
    assert (low.value, low.outcome) == (1, "fail")


def test_a_layer_is_bounded_by_the_first_glob_that_matches_it(audit: Audit) -> None:
    table = {"stem.*": 0.5, "features.1.*": 0.3, "*": 0.1}
    verdicts = held(audit, "max_pan_fraction", table)
    assert {key: (v.value, v.outcome) for key, v in verdicts.items()} == {
        "max_pan_fraction[stem.*]": (0.4, "pass"),
        "max_pan_fraction[features.1.*]": (0.2, "pass"),
        "max_pan_fraction[*]": (0.1, "pass"),
    }


def test_a_failure_names_the_layers_beyond_the_bound_and_no_others(audit: Audit) -> None:
    (verdict,) = held(audit, "max_pan_fraction", {"features.*": 0.1}).values()
    text = explain(audit, verdict)
    assert "pan_fraction in features.* 20.00 % is above max_pan_fraction[features.*]" in text
    assert "features.1.conv: 20.00 %" in text
    assert "features.1.conv channel" in text
    assert "features.0" not in text
    assert "stem" not in text


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"feature.1.*": 1.0}, "no examined layer matches 'feature.1.*'; nearest: features.1.conv"),
        ({"features.0.expand": 1.0}, "not examined: features.0.expand (1x1 kernel)"),
        ({"*": 1.0, "head": 1.0}, "every layer that 'head' matches is bounded by an earlier glob"),
    ],
)
def test_a_glob_that_bounds_no_layer_fails_and_says_why(
    audit: Audit, table: dict[str, float], words: str
) -> None:
    verdict = list(held(audit, "max_pan_fraction", table).values())[-1]
    assert verdict.outcome == "fail"
    assert words in explain(audit, verdict)


@pytest.mark.parametrize(
    ("keyword", "table", "words"),
    [
        ("max_prediction_flips", {"features.*": 1}, "by layer for pan_fraction, pan_count"),
        ("max_pan_fraction", {}, r"got \{\}"),
        ("max_pan_fraction", {"head": 3}, r"max_pan_fraction\[head\], got 3; allowed: a fraction"),
    ],
)
def test_a_table_that_no_layer_could_meet_is_refused(
    keyword: str, table: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config_limits.limits(keyword, table, origin="here")


def test_a_limit_of_layers_is_the_same_after_a_trip_through_json() -> None:
    for limit in config_limits.limits("max_pan_count", {"a": 1, "b": 2, "*": 3}, origin="here"):
        assert Limit.from_json(json.loads(json.dumps(limit.to_json()))) == limit


def test_a_limit_of_an_older_report_is_one_of_the_whole_model() -> None:
    (limit,) = config_limits.limits("max_pan_count", 1, origin="here")
    older = {k: v for k, v in limit.to_json().items() if k not in ("layer", "besides")}
    assert Limit.from_json(older) == limit
