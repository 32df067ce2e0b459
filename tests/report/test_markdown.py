"""The Markdown report, as a Markdown parser and an HTML parser read it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from build import (
    HOSTILE,
    hostile,
    make_audit,
    make_control,
    make_ran,
    make_verdict,
    plain_twin,
)
from markdown_it import MarkdownIt
from pages import Page

from pytest_pan.config.files import append_text
from pytest_pan.probes import table
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import Measured
from pytest_pan.report import markdown, terminal

GITHUB = 65_536


def rendered(*audits: Audit, partial: str = "") -> Page:
    """What a reader of the rendered text sees: tables as tables, raw HTML as HTML."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return Page(parser.render(markdown.render(audits, partial=partial)))


def failing(evidence: int = 2, name: str = "net", **changes: object) -> Audit:
    lines = [f"features.{n}: 18.75 %" for n in range(evidence)]
    verdict = make_verdict(outcome="fail", value=0.0212, bound=0.02, evidence=lines)
    passed = make_verdict("max_pan_count", value=3, bound=5)
    return make_audit(name, verdicts=(passed, verdict), **changes)


def test_the_first_line_is_a_comment_that_shows_nowhere() -> None:
    text = markdown.render([make_audit()])
    assert text.splitlines()[0] == "<!-- pytest-pan -->"
    assert "pytest-pan" not in rendered(make_audit()).text


def test_the_worst_comes_first_and_its_evidence_is_folded() -> None:
    page = rendered(make_audit("good", verdicts=(make_verdict(),)), failing(name="bad"))
    assert page.inside("h2")[0].split(": ")[1] == "1 limit failed, 2 limits passed"
    fail, one, other = (page.text.index(w) for w in ("FAIL", "PASS", "PANs among"))
    assert fail < one < other
    assert [page.inside("h3")[0], page.inside("h3")[-1]] == ["bad", "good"]
    folded = "".join(page.inside("details"))
    assert "features.0: 18.75 %" in folded
    assert "pan_fraction 2.12 % (max 2.00 %)" in "".join(page.inside("summary"))


def test_it_says_what_the_terminal_says_of_the_verdicts() -> None:
    audit = failing()
    text = rendered(audit).text
    for verdict in audit.verdicts:
        outcome, _, rest = terminal.verdict_line(verdict).partition(" ")
        assert f"{outcome} net: {' '.join(rest.split())}" in text


def test_every_measure_has_a_row_in_its_own_words() -> None:
    audit = make_audit()
    cells = [text for text in rendered(audit).inside("td") if text.strip()]
    told = dict(zip(cells[::2], cells[1::2], strict=True))
    expected = {n: table.find(n).text(m.value) for n, m in audit.measures.items()}
    assert told == expected


def test_bounds_and_random_neurons_have_columns_where_there_are_any() -> None:
    bounded = Measured(measure="pan_count", value=3, bounds=(2, 5))
    audit = make_audit(
        measures={"pan_fraction": make_audit().measures["pan_fraction"], "pan_count": bounded}
        | {"log_odds_shift": make_control()}
    )
    page = rendered(audit)
    assert page.inside("th") == ["measure", "value", "from, to", "random neurons"]
    assert "2, 5" in page.inside("td")
    assert "0.02, 0.01" in page.inside("td")
    assert rendered(make_audit()).inside("th") == ["measure", "value"]


def test_an_incomplete_run_says_so_before_anything_else() -> None:
    cut = make_audit("slow", partial="interrupted (Timeout)", verdicts=(make_verdict(),))
    text = rendered(cut, partial="the run was interrupted").text
    first, second, after = (
        text.index(w) for w in ("the run was interrupted", "slow: interrupted", "PASS")
    )
    assert first < second < after
    assert "incomplete" in text[:first].lower()


def test_a_run_without_audits_is_no_success() -> None:
    page = rendered(partial="the run was interrupted")
    assert "No audit ran." in page.text
    assert "nothing was examined" in "".join(page.inside("h2")).lower()


def test_an_expected_audit_that_nobody_had_keeps_the_heading_from_looking_green() -> None:
    audits = [make_audit(verdicts=(make_verdict(),))]
    whole, short = (make_ran(audits, had=had, tests=2, deselected=1) for had in (2, 1))
    text = markdown.render(audits, ran=whole)
    assert "## ✅ Padding audit: 1 limit passed" in text
    assert "2 of 2 expected (2 tests), 1 of 3 audits deselected" in text
    text = markdown.render(audits, ran=short)
    assert "## ⚠️ Padding audit: 1 of 2 expected audits missing, 1 limit passed" in text
    assert "audits: 1 of 2 expected (2 tests), 1 of 3 audits deselected" in text
    assert "## ❌ Padding audit: 1 limit failed" in markdown.render([failing()], ran=short)


def test_what_was_not_examined_stands_by_reason_with_names() -> None:
    skips = [Skip(what=f"conv.{n}", why="1x1 kernel") for n in range(30)]
    text = rendered(make_audit(skips=(*skips, Skip(what="head", why="never called")))).text
    assert "not examined: 31" in text
    assert "30 1x1 kernel: conv.0, conv.1" in text
    assert "and 20 more" in text
    assert "1 never called: head" in text


def test_hostile_texts_make_no_structure() -> None:
    attacked, plain = (
        rendered(replace(audit, images={**audit.images, "count": 5}))
        for audit in (hostile(), plain_twin())
    )
    assert attacked.tags == plain.tags
    assert not attacked.attributes("onclick")
    assert HOSTILE in attacked.text


@pytest.mark.parametrize(
    "text",
    [
        "a|b|c",
        "`tick` ``two``",
        "**bold** __under__ _one_ *star* ~~gone~~",
        "[link](https://example.org) ![image](x.png) <https://example.org>",
        "www.example.org and http://example.org/a_b",
        r"back\slash \| \` \<b>",
        "&lt;b&gt; &amp; &#60;",
        "$\\sqrt{3}$ $$x$$",
        "</code></details><script>alert(1)</script>",
        "<b onclick='x'>test</b>",
    ],
)
def test_a_text_from_outside_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    audit = make_audit(
        text,
        notes=(text,),
        skips=(Skip(what=text, why=text),),
        verdicts=(make_verdict(outcome="fail", evidence=[text], origin=text),),
    )
    page = rendered(audit)
    assert page.inside("h3") == [text]
    assert page.tags == rendered(plain(audit, text)).tags
    assert page.text.count(text) == plain_count(audit, text)


def plain(audit: Audit, text: str) -> Audit:
    return read_audit(_swapped(audit.to_json(), text))


def plain_count(audit: Audit, text: str) -> int:
    return rendered(plain(audit, text)).text.count("word")


def _swapped(value: object, text: str) -> object:
    if isinstance(value, dict):
        return {key: _swapped(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_swapped(item, text) for item in value]
    return "word" if value == text else value


def test_line_breaks_and_control_characters_do_not_break_a_line() -> None:
    audit = make_audit("one\n\n# two\r\n- three\x1b[31m\u202e", notes=("a\n\n```\nb",))
    page = rendered(audit)
    assert page.inside("h3") == ["one # two - three\\x1b[31m\\u202e"]
    assert "note: a ``` b" in page.text
    assert not {"pre", "h1"} & {tag for tag, _ in page.tags}


def test_a_text_without_utf8_can_be_written(tmp_path: Path) -> None:
    append_text(tmp_path / "a.md", markdown.render([make_audit("odd\udcff")]) + "\udcff")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").endswith("\\udcff")
    assert rendered(make_audit("odd\udcff")).inside("h3") == ["odd\\udcff"]


@pytest.mark.parametrize(
    ("audits", "left_out"),
    [
        ([failing(99, f"net{n}") for n in range(40)], r"of 40 limits: fail, .* of 40 audits"),
        ([make_audit("n" * 5000, notes=("x" * 9000,) * 90)] * 9, r"\d of 9 audits"),
        ([make_audit(skips=tuple(Skip(what="&" * 900, why=f"{n}") for n in range(500)))], "1 of 1"),
    ],
)
def test_it_fits_a_comment_and_counts_what_it_leaves_out(
    audits: list[Audit], left_out: str
) -> None:
    text = markdown.render(audits, partial="why " * 90_000, command="pytest " * 9_000)
    assert len(text.encode()) <= GITHUB
    page = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert re.search(rf"Cut to 65,536 characters; left out: .*{left_out}", page.text)
    assert not page.unclosed


def test_failures_are_the_last_to_be_left_out() -> None:
    passed = tuple(make_verdict(origin=f"test_{n}" * 30) for n in range(900))
    audit = replace(failing(), verdicts=(*passed, *failing().verdicts))
    text = markdown.render([audit])
    assert text.index("<b>FAIL</b>") < text.index("<b>PASS</b>")
    assert "limits: fail" not in text
    assert re.search(r"left out: [\d,]+ of 901 limits: pass", text)


def test_a_short_report_is_not_cut() -> None:
    assert "Cut to" not in markdown.render([failing()])


def test_appending_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("earlier step")
    append_text(path, "ours\n")
    append_text(path, "again\n")
    assert path.read_text() == "earlier step\nours\nagain\n"
