"""What to do about the findings of an audit, on every surface."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from build import make_audit, make_influence

from pytest_pan.probes import advice
from pytest_pan.probes.intrusion.records import Intrusion, IntrusionFindings
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measured
from pytest_pan.report import html, markdown, terminal
from pytest_pan.report import json as json_report


def swapped(low: float, *, after: float = 0.75, every: float = 0.25) -> Audit:
    plans = (
        make_influence(accuracy_before=0.8, accuracy=after),
        make_influence("reflect", size=None, accuracy_before=0.8, accuracy=every),
    )
    made = make_audit(influence=plans)
    ratio = Measured(measure="log_odds_ratio", value=4.0, interval=(low, 9.0))
    return replace(made, measures={**made.measures, "log_odds_ratio": ratio})


def answering(pans: float, others: float) -> Audit:
    line = Intrusion(
        axis="row",
        position=0.5,
        pans_fired=pans,
        others_fired=others,
        prediction_flips=7,
        sample_influence=1.0,
        images=100,
    )
    made = make_audit()
    return replace(made, findings={**made.findings, "intrusion": IntrusionFindings((line,))})


def test_pans_beyond_chance_ask_for_another_padding_with_what_trying_it_did() -> None:
    (found,) = advice.ranked(swapped(1.8))
    assert "repad" in found.what
    assert "4 times as far as random neurons of the same layers, at least 1.8" in found.evidence
    assert "accuracy 80.00 % becomes 75.00 %" in found.effect
    assert "25.00 % with every layer's" in found.effect
    assert found.effect.endswith("no cure: the network was trained with its own padding.")


def test_a_swap_that_loses_nothing_is_not_called_worse() -> None:
    (found,) = advice.ranked(swapped(1.8, after=0.9, every=0.85))
    assert "no cure" not in found.effect


def test_what_may_be_chance_asks_for_more_draws_before_a_change() -> None:
    (found,) = advice.ranked(swapped(0.7))
    assert "--pan-draws" in found.what
    assert "0.7 to 9 does not exclude chance" in found.evidence


@pytest.mark.parametrize(
    ("pans", "others", "asked"),
    [(0.6, 0.1, True), (0.6, 0.4, False), (0.05, 0.0, False), (0.1, 0.05, True)],
)
def test_training_with_zeros_is_asked_for_where_pans_answer_them_more_than_others(
    pans: float, others: float, asked: bool
) -> None:
    (found,) = advice.ranked(answering(pans, others))
    assert ("rows and columns of zeros" in found.what) is asked


def test_without_a_finding_the_advice_is_to_do_nothing() -> None:
    (found,) = advice.ranked(make_audit())
    assert found.what.startswith("Nothing")


def test_few_images_and_partial_audits_give_no_advice() -> None:
    made = make_audit()
    assert advice.ranked(replace(made, images={**made.images, "count": 31})) == ()
    assert advice.ranked(replace(made, partial="stopped")) == ()


def test_the_most_important_of_more_than_five_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    both = swapped(1.8)
    zeros = answering(1.0, 0.0).findings["intrusion"]
    both = replace(both, findings={**both.findings, "intrusion": zeros})
    first, second = advice.ranked(both)
    assert first.weight > second.weight
    monkeypatch.setattr(advice, "MOST", 1)
    assert advice.ranked(both) == (first,)


def test_every_report_has_the_advice() -> None:
    audit = swapped(1.8)
    (found,) = advice.ranked(audit)
    texts = ["\n".join(terminal.lines([audit])), markdown.render([audit]), html.render([audit])]
    for text in texts:
        assert "Give the PANs another padding" in text
        assert "25.00 % with every layer" in text
    (data,) = json.loads(json_report.render([audit]))["audits"]
    assert data["advice"] == [found.to_json()]
    assert advice.ranked(read_audit(data)) == (found,)
