"""Bounds relative to a baseline, and what is said of a change and of its reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build import make_audit, make_neuron, make_site

from pytest_pan import ConfigError
from pytest_pan.config import limits as config_limits
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.changes import BaselineComparison
from pytest_pan.records.measures import Measured
from pytest_pan.verdicts import baselines as baseline
from pytest_pan.verdicts.baseline_limits import (
    compare_and_update,
    compare_with_baseline,
    judge_all,
)
from pytest_pan.verdicts.baselines import Baselines
from pytest_pan.verdicts.judge import explain

CHANNELS = 10


def net(**pans: int) -> Audit:
    """Layers of ten channels with so many PANs each."""
    sites = [make_site(name, channels=CHANNELS) for name in pans]
    neurons = [make_neuron(name, c) for name, count in pans.items() for c in range(count)]
    return make_audit("net", sites=sites, neurons=neurons)


def beside(audit: Audit, *, update: bool = False) -> Baselines:
    """Baselines that hold this audit's figures."""
    body = baseline.body_of(audit)
    return Baselines(folder=Path("b"), shown="b", update=update, bodies={"net": body})


def outcome(now: Audit, before: Baselines | None, keyword: str, bound: Any) -> str:
    limits = config_limits.limits(keyword, bound, origin="here")
    (verdict,) = judge_all(now, limits, before)
    return verdict.outcome


@pytest.mark.parametrize(
    ("text", "figure", "bound"),
    [
        ("baseline", 155, 155),
        ("baseline+10%", 150, 165),
        ("baseline-5%", 200, 190),
        ("baseline + 0.01", 0.02, 0.03),
        ("baseline+.1", 0.7, 0.8),
        ("baseline+10%", -0.1, -0.09),
        ("baseline-10 %", -0.1, -0.11),
        ("baseline+10%", 0, 0),
    ],
)
def test_a_share_is_of_the_baseline_s_size_and_an_amount_is_added(
    text: str, figure: float, bound: float
) -> None:
    found = config_limits.parse_relative(text)
    assert found is not None
    assert found.bound_for(figure) == bound


@pytest.mark.parametrize(
    "text", ["baseline+", "baseline+-1", "+10%", "baseline*2", "baseline+1e3", "10%", "", "base"]
)
def test_what_is_no_relative_bound_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"bound of max_pan_count, got .*'baseline\+10%'"):
        config_limits.limits("max_pan_count", text, origin="here")


@pytest.mark.parametrize(
    ("keyword", "bound", "expected"),
    [
        ("max_pan_count", "baseline", "fail"),
        ("max_pan_count", "baseline+19%", "fail"),  # 5 and 19 % are 5.95
        ("max_pan_count", "baseline+20%", "pass"),
        ("max_pan_count", "baseline+1", "pass"),
        ("min_pan_count", "baseline+1", "pass"),
        ("min_pan_count", "baseline+2", "fail"),
        ("max_pan_count", {"b*": "baseline"}, "fail"),
        ("max_pan_count", {"b*": "baseline+50%"}, "pass"),  # of the 2 in b1
        ("max_pan_count", {"a*": "baseline"}, "pass"),
        ("max_pan_fraction", {"*": "baseline"}, "pass"),  # the worst layer is still a
    ],
)
def test_a_limit_is_held_against_the_baseline_s_figure_of_the_same_thing(
    keyword: str, bound: Any, expected: str
) -> None:
    before, now = net(a=3, b1=2, b2=0), net(a=3, b1=3, b2=0)
    assert outcome(now, beside(before), keyword, bound) == expected


def test_a_class_is_held_against_its_own_figure() -> None:
    def odds(value: float) -> Audit:
        measured = Measured(measure="log_odds_shift", value=9.0, classes={"tench": value})
        found = net(a=1)
        return replace(
            found,
            settings=Settings(probes=("pans", "influence")),
            measures=found.measures | {"log_odds_shift": measured},
        )

    for value, expected in ((0.21, "pass"), (0.23, "fail")):
        bound = {"tench": "baseline+10%"}
        assert outcome(odds(value), beside(odds(0.2)), "max_log_odds_shift", bound) == expected


def test_an_unchanged_audit_holds_the_bound_baseline_although_the_file_is_rounded() -> None:
    thirds = make_audit("net", sites=[make_site("a", channels=9)], neurons=[make_neuron("a")])
    assert baseline.body_of(thirds)["measures"]["pan_fraction"]["value"] < 1 / 9
    assert outcome(thirds, beside(thirds), "max_pan_fraction", "baseline") == "pass"
    assert outcome(thirds, beside(thirds), "min_pan_fraction", "baseline") == "pass"


@pytest.mark.parametrize(
    ("before", "bound", "words"),
    [
        (None, "baseline", "no baselines; set --pan-baseline=DIR"),
        (Baselines(folder=Path("b"), shown="b"), "baseline+5", "no baseline b/net.json yet"),
        (beside(net(a=1)), {"b*": "baseline"}, "b/net.json has no value for it"),
    ],
)
def test_a_limit_whose_baseline_is_missing_fails_and_says_how_to_write_it(
    before: Baselines | None, bound: Any, words: str
) -> None:
    now = net(a=1, b1=0)
    (verdict,) = judge_all(now, config_limits.limits("max_pan_count", bound, origin="here"), before)
    assert verdict.outcome == "fail"
    text = explain(now, verdict)
    assert words in text
    assert "cannot be checked against" in text


def test_a_run_that_writes_the_baseline_holds_limits_against_what_it_writes() -> None:
    before, now = net(a=1), net(a=3)
    update = beside(before, update=True)
    assert outcome(now, update, "max_pan_count", "baseline") == "pass"
    assert outcome(now, update, "max_pan_count", "baseline-1") == "fail"


def test_a_verdict_says_where_its_bound_is_from() -> None:
    limits = config_limits.limits("max_pan_count", "baseline+50%", origin="marker of test_x")
    (verdict,) = judge_all(net(a=3), limits, beside(net(a=2)))
    assert (verdict.limit.bound, verdict.limit.relative) == (3.0, "baseline+50%")
    assert verdict.limit.origin == "marker of test_x: baseline+50%, 2 in b/net.json"


@pytest.mark.parametrize(("now", "decided"), [(2, "pass"), (3, "fail")])
def test_on_the_same_images_sampling_leaves_nothing_open_on_others_it_does(
    now: int, decided: str
) -> None:
    before = beside(net(a=2))
    here = unsure(net(a=now))
    assert outcome(here, before, "max_pan_count", "baseline") == decided
    others = changed(here, "images", digest="other photographs")
    assert outcome(others, before, "max_pan_count", "baseline") == "inconclusive"


def unsure(audit: Audit) -> Audit:
    """With an interval from nothing to nine PANs."""
    count = replace(audit.measures["pan_count"], interval=(0.0, 9.0))
    return replace(audit, measures={**audit.measures, "pan_count": count})


def changed(audit: Audit, part: str, **facts: Any) -> Audit:
    old = getattr(audit, part)
    return replace(
        audit, **{part: replace(old, **facts) if part == "settings" else {**old, **facts}}
    )


@pytest.mark.parametrize(
    ("part", "facts", "reason"),
    [
        ("model", {"digest": "f00"}, "weights: digest sha256:3f1c9a -> f00"),
        ("images", {"count": 9}, "images: count 210 -> 9"),
        ("settings", {"theta": 0.25}, "settings: theta 0.5 -> 0.25"),
        ("environment", {"torch": "3"}, "versions: torch 2.4.0 -> 3"),
        ("environment", {"device": "cuda:0"}, "hardware: device cpu -> cuda"),
    ],
)
def test_the_reason_of_a_change_is_told_apart(
    part: str, facts: dict[str, Any], reason: str
) -> None:
    found = compare_with_baseline(changed(net(a=3), part, **facts), beside(net(a=2)))
    assert found.differences == (reason,)
    (verdict, *_) = judge_all(
        changed(net(a=3), part, **facts),
        config_limits.limits("max_pan_count", "baseline", origin="here"),
        beside(net(a=2)),
    )
    assert f"changed since the baseline: {reason}" in verdict.evidence


def test_several_reasons_at_once_are_all_listed() -> None:
    now = changed(changed(net(a=3), "model", digest="f00"), "images", count=9)
    found = compare_with_baseline(now, beside(net(a=2)))
    assert [line.partition(":")[0] for line in found.reasons] == ["weights", "images"]


def test_where_nothing_else_has_changed_it_is_the_code_or_chance() -> None:
    (reason,) = compare_with_baseline(net(a=3), beside(net(a=2))).reasons
    assert reason.startswith("nothing recorded")
    assert "the code has changed" in reason


def test_probes_that_a_run_did_not_ask_for_are_neither_lost_nor_a_changed_setting() -> None:
    full = replace(net(a=2), settings=Settings(probes=("pans", "influence")))
    odds = Measured(measure="log_odds_shift", value=0.2)
    before = beside(replace(full, measures=full.measures | {"log_odds_shift": odds}))
    assert not compare_with_baseline(net(a=2), before).has_changed
    assert compare_with_baseline(net(a=2), before).differences == ()
    assert compare_with_baseline(full, before).count("lost") == 1


def test_improvements_and_regressions_are_told_by_measure_and_by_layer() -> None:
    better = compare_with_baseline(net(a=1, b=1), beside(net(a=2, b=1)))
    assert better.is_improvement
    assert [(row.layer, row.before, row.after) for row in better.layers] == [("a", 2, 1)]
    mixed = compare_with_baseline(net(a=1, b=3), beside(net(a=2, b=2)))
    assert mixed.count("same") == 3  # as many of as many, and as many edges
    assert mixed.count("worse") == 1  # the largest share of a layer
    assert [(row.layer, row.change) for row in mixed.layers] == [("a", "better"), ("b", "worse")]
    assert not mixed.is_improvement


def test_a_comparison_is_the_same_after_a_trip_through_json() -> None:
    found = compare_with_baseline(changed(net(a=3), "model", digest="f00"), beside(net(a=2)))
    assert BaselineComparison.from_json(found.to_json()) == found
    whole = replace(net(a=3), baseline=found)
    assert read_audit(whole.to_json()).baseline == found


def test_an_incomplete_audit_is_neither_compared_nor_written(tmp_path: Path) -> None:
    before = replace(beside(net(a=2), update=True), folder=tmp_path)
    kept = compare_and_update([replace(net(a=3), partial="interrupted")], before)
    assert [audit.baseline and audit.baseline.missing for audit in kept.audits] == [
        "the audit is incomplete"
    ]
    assert list(kept.errors) == ["pan::baseline::net"]
    assert list(tmp_path.iterdir()) == []


def test_two_audits_of_one_name_write_nothing_and_are_an_error(tmp_path: Path) -> None:
    before = Baselines(folder=tmp_path, shown="b", update=True)
    kept = compare_and_update([net(a=1), changed(net(a=2), "settings", theta=0.25)], before)
    assert "2 audits of this run have this name" in kept.errors["pan::baseline::net"]
    assert list(tmp_path.iterdir()) == []
    assert (
        compare_and_update(
            [net(a=1), changed(net(a=1), "images", count=9)], replace(before, update=False)
        ).errors
        == {}
    )


def test_an_update_touches_no_file_of_a_model_that_did_not_run(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("as it was")
    before = Baselines(folder=tmp_path, shown="b", update=True)
    (audit,) = compare_and_update([net(a=1)], before).audits
    assert audit.baseline is not None
    assert audit.baseline.written == "written"
    assert (tmp_path / "other.json").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", "other.json"]


def counted(value: float, interval: tuple[float, float], images: str, count: int = 100) -> Audit:
    """An audit of some images with a number of PANs, and its interval."""
    made = net(a=1)
    measured = Measured(measure="pan_count", value=value, interval=interval)
    facts = {**made.images, "digest": images, "count": count}
    return replace(made, measures={**made.measures, "pan_count": measured}, images=facts)


@pytest.mark.parametrize(
    ("middle", "bound", "expected"),
    [
        (100, "baseline", "inconclusive"),
        (127, "baseline", "inconclusive"),  # apart by 27: root of 20^2 + 20^2 is 28.3
        (130, "baseline", "fail"),
        (100, "baseline+40%", "pass"),  # apart by 40: root of 20^2 + 28^2 is 34.4
        (100, "baseline+30%", "inconclusive"),  # by 30: root of 20^2 + 26^2 is 32.8
        (100, "baseline+30", "pass"),  # by 30: 28.3
    ],
)
def test_two_figures_of_different_images_are_told_apart_by_both_their_intervals(
    middle: float, bound: str, expected: str
) -> None:
    before = counted(100, (80, 120), "some")
    now = counted(middle, (middle - 20, middle + 20), "others")
    assert outcome(now, beside(before), "max_pan_count", bound) == expected


def test_that_few_images_count_too_many_is_no_regression() -> None:
    before = counted(100, (95, 105), "many")
    now = counted(125, (90, 110), "few", count=40)
    assert outcome(now, beside(before), "max_pan_count", "baseline+10%") == "inconclusive"
    better = counted(100, (70, 80), "few", count=40)
    assert outcome(better, beside(before), "max_pan_count", "baseline") == "pass"


def test_an_accuracy_of_other_labels_is_another_figure_and_pans_are_not() -> None:
    def labelled(labels: str, drop: float) -> Audit:
        made = net(a=1)
        measured = Measured(measure="accuracy_drop", value=drop, interval=(drop - 0.1, drop + 0.1))
        return replace(
            made,
            settings=Settings(probes=("pans", "influence")),
            images={**made.images, "labels": labels},
            measures={**made.measures, "accuracy_drop": measured},
        )

    before = beside(labelled("old", 0.1))
    assert outcome(labelled("old", 0.12), before, "max_accuracy_drop", "baseline") == "fail"
    assert outcome(labelled("new", 0.12), before, "max_accuracy_drop", "baseline") == "inconclusive"
    assert outcome(labelled("new", 0.12), before, "max_pan_count", "baseline") == "pass"


@pytest.mark.parametrize("text", ["baseline+10", "baseline-3", "baseline + 1.5"])
def test_a_fraction_that_grows_by_whole_ones_lacks_its_percent_sign(text: str) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{re.escape(text)}%'"):
        config_limits.limits("max_pan_fraction", text, origin="here")
    assert config_limits.limits("max_pan_count", text, origin="here")
