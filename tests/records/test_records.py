"""Records survive JSON, and the vocabulary is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from build import make_audit
from nets import bright_images, fifteen_types

import pytest_pan
from pytest_pan import ConfigError, Side
from pytest_pan.config import limits as config_limits
from pytest_pan.engine.audits import Ledger, key
from pytest_pan.probes import table
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.report import json as json_report
from pytest_pan.verdicts.judge import explain, judge

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def real() -> Audit:
    return pytest_pan.audit(fifteen_types(), bright_images(count=50))


def test_an_audit_is_the_same_after_a_trip_through_json(real: Audit) -> None:
    assert read_audit(json.loads(json.dumps(real.to_json()))) == real


def test_the_json_has_the_keys_that_tools_read(real: Audit) -> None:
    body = json.loads(json_report.render([real]))
    assert body["schema"] == "pytest-pan/2"
    (audit,) = body["audits"]
    assert {"model", "images", "settings", "environment", "sites", "neurons"} <= audit.keys()
    assert {"name", "digest"} <= audit["model"].keys()
    assert {"count", "digest"} <= audit["images"].keys()
    (site,) = audit["sites"]
    wanted = {"name", "kernel", "stride", "map", "padding", "consumed", "mode", "channels"}
    assert wanted | {"reliability"} <= site.keys()
    assert site["padding"] == site["consumed"] == [1, 1, 1, 1]
    neuron = audit["neurons"][5]
    assert (neuron["site"], neuron["channel"], neuron["type"]) == ("(model)", 5, "TL")
    for statistic in ("ks", "ks_plus", "ks_minus"):
        assert list(neuron[statistic]) == ["T", "B", "L", "R"]
    assert audit["measures"]["pan_fraction"]["value"] == 1
    assert audit["skips"] == audit["verdicts"] == []


def test_an_undefined_number_is_null_in_the_report(real: Audit) -> None:
    text = json_report.render([make_audit()]).replace(" ", "")
    assert "NaN" not in text
    assert json_report.document([], partial="x")["partial"] == "x"
    values = json_report._nulls({"a": [float("nan"), 1.0, float("inf")]})
    assert values == {"a": [None, 1.0, None]}


@pytest.mark.parametrize("letters", ["", "T", "BR", "TBLR"])
def test_a_type_is_its_letters_in_order(letters: str) -> None:
    assert str(Side.parse(letters[::-1])) == letters


def test_globs_choose_layers() -> None:
    audit = make_audit()
    every = audit.pans()
    name = every[0].site
    assert audit.pans(layer=name) == tuple(n for n in every if n.site == name)
    assert audit.pans(layer="nothing.*") == ()


@pytest.mark.parametrize(
    ("keyword", "bound", "value", "outcome"),
    [
        ("max_pan_count", 15, 15, "pass"),
        ("max_pan_count", 14, 15, "fail"),
        ("min_pan_count", 15, 15, "pass"),
        ("min_pan_count", 16, 15, "fail"),
    ],
)
def test_a_limit_includes_its_bound(
    real: Audit, keyword: str, bound: float, value: float, outcome: str
) -> None:
    (verdict,) = judge(real, config_limits.limits(keyword, bound, origin="here"))
    assert (verdict.value, verdict.outcome) == (value, outcome)


@pytest.mark.parametrize(("bound", "told"), [(13, False), (14, True), (15, True), (17, False)])
def test_a_limit_within_the_bounds_of_a_counted_figure_is_said_to_be_open(
    real: Audit, bound: float, told: bool
) -> None:
    counted = replace(real.measures["pan_count"], bounds=(14.0, 16.0))
    audit = replace(real, measures={**real.measures, "pan_count": counted})
    (verdict,) = judge(audit, config_limits.limits("max_pan_count", bound, origin="here"))
    assert ("between 14 and 16" in explain(audit, verdict)) == told


def test_an_undefined_value_holds_no_limit(real: Audit) -> None:
    nothing = replace(real.measures["pan_fraction"], value=float("nan"), sites={})
    empty = replace(real, measures={**real.measures, "pan_fraction": nothing})
    limits = [
        limit
        for keyword in ("max_pan_fraction", "min_pan_fraction")
        for limit in config_limits.limits(keyword, 1.0, origin="")
    ]
    verdicts = judge(empty, limits)
    assert [verdict.outcome for verdict in verdicts] == ["fail", "fail"]
    assert "undefined" in explain(empty, verdicts[0])


def test_a_misspelt_measure_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'pan_fractoin'.*Did you mean 'pan_fraction'"):
        table.find("pan_fractoin")


def test_the_reference_has_the_tables_of_probes_and_measures() -> None:
    assert table.markdown() in (DOCS / "reference.md").read_text()


def test_what_one_ledger_sends_another_receives_once(real: Audit) -> None:
    worker, controller = Ledger(Settings()), Ledger(Settings())
    model, images = fifteen_types(), bright_images(count=50)
    made = worker.audit(model, images, {}, tick=lambda done, expected: None)
    assert worker.audit(model, images, {}, tick=lambda done, expected: None) is made
    worker.judge(made, config_limits.limits("max_pan_count", 3, origin="here"))
    parcels = worker.send()
    controller.receive(parcels)
    controller.receive(parcels)
    (arrived,) = controller.audits
    assert key(arrived) == key(made)
    assert [verdict.outcome for verdict in arrived.verdicts] == ["fail"]
    assert worker.send() == []


def test_the_same_audit_on_another_device_and_of_another_folder_is_the_same(real: Audit) -> None:
    there = replace(
        real,
        settings=replace(real.settings, device="cuda:1", workers=8),
        images={**real.images, "source": "/elsewhere/images"},
        environment={"device": "cuda:1"},
    )
    assert key(there) == key(real)
    for other in (
        replace(real, settings=replace(real.settings, theta=0.9)),
        replace(real, images={**real.images, "digest": "another"}),
        replace(real, images={**real.images, "batches": "1 of 50"}),
    ):
        assert key(other) != key(real)
