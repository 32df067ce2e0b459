"""Three outcomes by arithmetic: where a limit lies, and how many more images would decide."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from build import make_audit, make_neuron, make_site

from pytest_pan.config import limits as config_limits
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Outcome, Verdict
from pytest_pan.records.measures import Interval, Measured
from pytest_pan.verdicts.certainty import more_images
from pytest_pan.verdicts.judge import explain, judge


def audit(measured: Measured, images: int = 100, groups: int | None = None) -> Audit:
    site = make_site("conv", channels=20)
    made = make_audit("net", sites=[site], neurons=[make_neuron("conv", c) for c in range(5)])
    found = {**made.measures, measured.measure: measured}
    shown = {**made.images, "count": images, "groups": groups}
    return replace(made, measures=found, images=shown)


def verdict(
    measured: Measured,
    keyword: str,
    bound: object,
    images: int = 100,
    groups: int | None = None,
) -> Verdict:
    (limit,) = config_limits.limits(keyword, bound, origin="here")
    (found,) = judge(audit(measured, images, groups), [limit])
    return found


def test_an_interval_without_width_is_explained() -> None:
    measured = Measured(measure="pan_count", value=5, interval=(5, 5))
    assert "all subsamples give the same value" in verdict(measured, "max_pan_count", 9).basis


@pytest.mark.parametrize(
    ("keyword", "bound", "outcome"),
    [
        ("max_pan_count", 9, "pass"),
        ("max_pan_count", 8, "pass"),
        ("max_pan_count", 7, "inconclusive"),
        ("max_pan_count", 3, "inconclusive"),
        ("max_pan_count", 2, "fail"),
        ("min_pan_count", 3, "pass"),
        ("min_pan_count", 4, "inconclusive"),
        ("min_pan_count", 8, "inconclusive"),
        ("min_pan_count", 9, "fail"),
    ],
)
def test_a_limit_is_decided_where_the_whole_interval_lies_on_one_side(
    keyword: str, bound: float, outcome: str
) -> None:
    measured = Measured(measure="pan_count", value=5, interval=(3, 8))
    assert verdict(measured, keyword, bound).outcome == outcome


def test_a_figure_beyond_the_limit_never_passes_though_its_interval_lies_within() -> None:
    """Few images count too many: the interval lies below the count itself."""
    measured = Measured(measure="pan_count", value=12, interval=(3, 8))
    assert [verdict(measured, "max_pan_count", b).outcome for b in (12, 10, 2)] == [
        "pass",
        "inconclusive",
        "fail",
    ]


@pytest.mark.parametrize(
    ("value", "interval", "bound", "images", "more"),
    [
        (10, (6, 14), 12, 100, 300),  # twice as near as the end: four times the images
        (10, (6, 14), 13, 100, 78),  # 100 (16 / 9 - 1) = 77.8
        (18, (8, 12), 12.5, 100, 220),  # the trend decides: 8 / 2.5 = 3.2 times as many
        (10, (6, 14), 10, 100, None),
        (10, (6, 14), 10.1, 100, None),  # 1,600 times as many
        (10, (6, 14), 6, 1000, 1),
    ],
)
def test_how_many_more_images_would_decide(
    value: float, interval: Interval, bound: float, images: int, more: int | None
) -> None:
    assert more_images(value, interval, bound, images) == more


def test_an_inconclusive_verdict_says_what_it_rests_on() -> None:
    found = verdict(Measured(measure="pan_count", value=10, interval=(6, 14)), "max_pan_count", 12)
    assert (found.interval, found.more_images) == ((6, 14), 300)
    assert found.basis == (
        "95 % interval 6 to 14 contains the limit; about 300 more images would decide it"
    )
    text = explain(audit(Measured(measure="pan_count", value=10)), found)
    assert "pan_count 10 is inconclusive against max_pan_count = 12 (here)" in text
    assert found.basis in text


def test_layers_lie_between_the_largest_of_their_lower_and_of_their_upper_ends() -> None:
    measured = Measured(
        measure="pan_fraction",
        value=0.2,
        sites={"a.0": 0.2, "a.1": 0.3, "b": 0.9},
        interval=(0.1, 0.3),
        intervals={"a.0": (0.1, 0.5), "a.1": (0.25, 0.35), "b": (0.8, 1.0)},
    )
    found = verdict(measured, "max_pan_fraction", {"a.*": 0.4})
    assert (found.value, found.interval, found.outcome) == (0.3, (0.25, 0.5), "inconclusive")
    found = verdict(measured, "min_pan_fraction", {"a.*": 0.08})
    assert (found.value, found.interval, found.outcome) == (0.2, (0.1, 0.35), "pass")


def test_a_class_has_its_own_interval() -> None:
    measured = Measured(
        measure="log_odds_shift",
        value=0.5,
        classes={"tench": 0.04, "drum": 0.5},
        interval=(0.3, 0.6),
        intervals={"tench": (0.01, 0.07), "drum": (0.3, 0.6)},
    )
    found = verdict(measured, "max_log_odds_shift", {"tench": 0.05})
    assert (found.outcome, found.interval) == ("inconclusive", (0.01, 0.07))


def test_a_figure_that_needs_no_images_is_exact() -> None:
    found = verdict(Measured(measure="uneven_layers", value=2), "max_uneven_layers", 2, images=3)
    assert (found.outcome, found.basis) == ("pass", "")


@pytest.mark.parametrize(
    ("images", "basis"),
    [
        (
            9,
            "no interval: 9 images, at least 32 needed; only the value was compared with the limit",
        ),
        (99, "no interval; only the value was compared with the limit"),
    ],
)
def test_without_an_interval_the_comparison_is_plain_and_says_so(images: int, basis: str) -> None:
    found = verdict(Measured(measure="pan_floor", value=0.02), "max_pan_floor", 0.03, images)
    assert (found.outcome, found.basis) == ("pass", basis)


@pytest.mark.parametrize(("bound", "outcome"), [(16, "pass"), (15, "inconclusive"), (9, "fail")])
def test_bounds_of_counted_figures_weigh_like_an_interval(bound: float, outcome: str) -> None:
    measured = Measured(measure="pan_count", value=12, bounds=(10, 16))
    found = verdict(measured, "max_pan_count", bound)
    assert found.outcome == outcome
    assert ("a larger pan_memory makes it exact" in found.basis) is (outcome == "inconclusive")


def test_a_verdict_is_the_same_after_a_trip_through_json_and_an_older_one_is_read() -> None:
    found = verdict(Measured(measure="pan_count", value=10, interval=(6, 14)), "max_pan_count", 12)
    data = json.loads(json.dumps(found.to_json()))
    assert Verdict.from_json(data) == found
    for key in ("interval", "more_images", "basis"):
        del data[key]
    assert Verdict.from_json(data).outcome == "inconclusive"


@pytest.mark.parametrize("name", ["prediction_flips", "intrusion_flips"])
def test_no_number_of_images_is_named_for_a_count_of_images(name: str) -> None:
    found = verdict(Measured(measure=name, value=12, interval=(6, 19)), f"max_{name}", 16)
    assert (found.outcome, found.more_images) == ("inconclusive", None)
    assert "grows with the number of images (100)" in found.basis


@pytest.mark.parametrize("bound", [1, 10_000])
def test_below_the_images_that_an_interval_needs_a_limit_names_how_many_more(bound: float) -> None:
    measured = Measured(measure="sample_influence", value=100.0)
    found = verdict(measured, "max_sample_influence", bound, 160)
    assert (found.outcome, found.more_images) == ("inconclusive", 208)
    assert "160 images, at least 368 are needed" in found.basis


def test_a_count_that_no_interval_holds_names_what_to_limit_instead() -> None:
    found = verdict(Measured(measure="classes_shifted", value=1), "max_classes_shifted", 100, 500)
    assert found.outcome == "inconclusive"
    assert "limit mean_log_odds_shift instead" in found.basis


def test_images_of_few_photographs_decide_nothing() -> None:
    measured = Measured(measure="pan_fraction", value=0.1)
    found = verdict(measured, "max_pan_fraction", 0.9, 160, groups=15)
    assert found.outcome == "inconclusive"
    assert "15 groups of images, at least 16 needed" in found.basis


@pytest.mark.parametrize(
    ("bound", "outcome"), [(0.6, "pass"), (0.5, "inconclusive"), (0.1, "fail")]
)
def test_what_counting_leaves_open_of_a_layer_leaves_its_limit_open(
    bound: float, outcome: str
) -> None:
    """Of two layers with 0.2 to 0.4 and 0.3 to 0.55 the larger share is 0.3 to 0.55."""
    measured = Measured(
        measure="pan_fraction",
        value=0.35,
        sites={"a": 0.3, "b": 0.4},
        bounds=(0.2, 0.5),
        site_bounds={"a": (0.2, 0.4), "b": (0.3, 0.55)},
    )
    assert verdict(measured, "max_pan_fraction", {"*": bound}).outcome == outcome


@pytest.mark.parametrize(
    ("layer", "best_outcome", "limit", "expected"),
    [
        ("late", "fail", {"keyword": "max_pan_count", "bound": 9}, "fail"),
        ("late", "inconclusive", {"keyword": "max_pan_count", "bound": 9}, "inconclusive"),
        ("late", "pass", {"keyword": "max_pan_count", "bound": 9}, "pass"),
        ("late", "fail", {"keyword": "max_pan_count", "bound": {"conv": 9}}, "pass"),
        ("late", "fail", {"keyword": "max_pan_count", "bound": {"*": 9}}, "fail"),
        ("late", "inconclusive", {"keyword": "max_pan_count", "bound": 1}, "fail"),
    ],
)
def test_nothing_passes_on_a_figure_that_lacks_what_belongs_to_it(
    layer: str, best_outcome: Outcome, limit: dict[str, Any], expected: str
) -> None:
    measured = Measured(measure="pan_count", value=5, sites={"conv": 5})
    lacking = Skip(what=layer, why="activations not finite", best_outcome=best_outcome)
    made = replace(audit(measured), skips=(lacking,))
    (found,) = judge(made, config_limits.limits(**limit, origin="here"))
    assert found.outcome == expected
    assert ("not included: late" in str(found.evidence)) == (
        expected != "pass" and best_outcome != "pass"
    )
    if expected == "fail" and best_outcome == "fail":
        assert "pan_count 5 cannot be checked against" in explain(made, found).replace(" in *", "")
