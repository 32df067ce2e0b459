"""Evidence of class limits, intervals beside their figure, and changes within the noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from build import make_audit, make_control
from commands import run

from pytest_pan.config.limits import limits
from pytest_pan.records.audit import Audit
from pytest_pan.records.limits import Verdict
from pytest_pan.records.measures import Measured
from pytest_pan.report import json as json_report
from pytest_pan.verdicts.judge import explain, judge

DIGITS = {f"digit {n}": 0.3 - 0.01 * n for n in range(10)}


def shifted(**changes: Any) -> Audit:
    """Return an audit of ten digits whose odds shift, "digit 0" most."""
    fields = {
        "value": 0.3,
        "classes": DIGITS,
        "control": make_control().control,
        "intervals": {"digit 3": (0.2, 0.35)},
    }
    measured = Measured(measure="log_odds_shift", **fields | changes)
    audit = make_audit("net")
    return make_audit("net", measures={**audit.measures, "log_odds_shift": measured})


def held(audit: Audit, keyword: str, bound: Any) -> Verdict:
    (verdict,) = judge(audit, limits(keyword, bound, origin="--pan-limit"))
    return verdict


def test_the_evidence_of_a_class_limit_is_that_class() -> None:
    verdict = held(shifted(), "max_log_odds_shift", {"digit 3": 0.1})
    assert verdict.outcome == "fail"
    assert verdict.evidence[0] == "class digit 3: 0.27, 95 % interval 0.2 to 0.35"
    assert verdict.evidence[1].startswith("random neurons, ")
    assert "largest of any class" in verdict.evidence[1]
    assert not [text for text in verdict.evidence if "digit 0" in text]


def test_the_draws_of_the_class_itself_are_shown_where_they_are_known() -> None:
    audit = shifted(class_draws={"digit 3": (0.02, 0.01)})
    verdict = held(audit, "max_log_odds_shift", {"digit 3": 0.1})
    assert verdict.evidence == (
        "class digit 3: 0.27, 95 % interval 0.2 to 0.35",
        "random neurons, same class: 0.02, 0.01",
    )
    measured = audit.measures["log_odds_shift"]
    data = json.loads(json.dumps(measured.to_json()))
    assert Measured.from_json("log_odds_shift", data) == measured


def test_the_limit_of_the_whole_model_still_lists_the_largest_classes() -> None:
    verdict = held(shifted(), "max_log_odds_shift", 0.1)
    classes = [text for text in verdict.evidence if text.startswith("class ")]
    assert [text.partition(":")[0] for text in classes] == [f"class digit {n}" for n in range(5)]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("digit3", "among 10; did you mean 'digit 3'?"),
        ("three", "among 10; the classes are 'digit 0', 'digit 1', 'digit 2', 'digit 3', "),
    ],
)
def test_an_unknown_class_comes_with_names_that_exist(target: str, words: str) -> None:
    (evidence,) = held(shifted(), "max_log_odds_shift", {target: 0.1}).evidence
    assert evidence.startswith(f"no class {target!r} {words}")


def counted(value: float, interval: tuple[float, float] | None, count: int = 160) -> Audit:
    audit = make_audit("net")
    measured = Measured(measure="pan_count", value=value, interval=interval)
    images = {**audit.images, "count": count}
    return make_audit("net", images=images, measures={**audit.measures, "pan_count": measured})


def test_a_bound_next_to_the_middle_of_a_huge_interval_is_no_overflow() -> None:
    verdict = held(counted(1e-200, (0.0, 1e150)), "max_pan_count", 5e149)
    assert verdict.outcome == "inconclusive"


def test_the_explanation_of_one_neuron_is_singular() -> None:
    audit = make_audit("net", sites=1, neurons=1)
    text = explain(audit, held(audit, "max_pan_count", 0))
    assert "1 of 512 neurons in 1 layer are padding aware" in text


@pytest.mark.parametrize(
    ("before", "after", "code", "word"),
    [
        ((7, (6.9, 9.5)), (8, (7.1, 9.9)), 0, "same (within the 95 % interval)"),
        ((7, (6.9, 9.5)), (8, None), 0, "same (within the 95 % interval)"),
        ((7, None), (8, (6.0, 9.5)), 0, "same (within the 95 % interval)"),
        ((8, (6.9, 9.5)), (7, None), 0, "same (within the 95 % interval)"),
        ((7, (6.9, 7.5)), (8, (7.6, 9.0)), 1, "WORSE"),
        ((7, None), (8, None), 1, "WORSE"),
        ((7, (6.9, 9.5)), (7, (6.9, 9.5)), 0, "same"),
    ],
)
def test_a_change_within_either_interval_is_noise(
    before: Any,
    after: Any,
    code: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (value, interval) in {"old.json": before, "new.json": after}.items():
        Path(name).write_text(json_report.render([counted(value, interval)]))
    result = run("compare", "old.json", "new.json")
    (row,) = [text for text in result.output.splitlines() if " pan_count" in text]
    assert row.endswith(f"  {word}")
    assert result.exit_code == code
