"""Texts for a prompt, a notebook and a terminal."""

from __future__ import annotations

import pytest
from build import hostile, make_audit

from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.records.measures import Measured
from pytest_pan.records.text import cut, escaped, line, plural
from pytest_pan.report import html, markdown, terminal


def test_the_repr_of_an_audit_is_one_short_line() -> None:
    audit = make_audit("MobileNetV2", sites=14, neurons=152)
    expected = "<Audit MobileNetV2: 152 PANs among 7,168 neurons (2.12 %) in 14 layers, 210 images>"
    assert repr(audit) == str(audit) == expected
    assert repr(make_audit("net", partial="stopped")).endswith("210 images, partial>")
    assert len(repr(make_audit(5000 * "x"))) < 400


def test_the_summary_has_every_measure_with_its_interval() -> None:
    count = Measured(measure="pan_count", value=3.0, interval=(2.0, 4.5))
    audit = make_audit("net", notes=("few images",))
    audit = make_audit(
        "net", notes=("few images",), measures={**audit.measures, "pan_count": count}
    )
    text = audit.summary()
    assert text.startswith("net: 3 PANs among 1,024 neurons (0.29 %) in 2 layers, 210 images")
    assert "pan_count            3 (95 % interval 2 to 4.5)" in text
    assert all(name in text for name in audit.measures)
    assert "note: few images" in text
    assert "not examined: 1" in text


def test_the_transform_in_use_stands_in_every_head() -> None:
    audit = make_audit("net")
    expected = "images: tests/images; transform: resize 256, crop 224"
    assert f"\n  {expected}\n" in audit.summary()
    assert f"  {expected}" in list(terminal.lines([audit]))
    assert expected in markdown.render([audit])
    visible, _, _ = html.render([audit]).partition("Model, images, environment and settings")
    assert f"<p>{expected.capitalize()}</p>" in visible


def test_a_notebook_shows_a_small_escaped_table() -> None:
    page = make_audit("<b>net</b>\x1b", partial="<script>")._repr_html_()
    assert "<b>&lt;b&gt;net&lt;/b&gt;\\x1b</b>" in page
    assert "<script>" not in page
    assert page.count("<tr>") == 5
    assert len(hostile()._repr_html_()) < 10_000


def test_texts_of_an_empty_audit_exist() -> None:
    audit = make_audit(sites=0, neurons=0, measures={}, model={"digest": ""}, images={})
    assert repr(audit) == "<Audit model: 0 PANs among 0 neurons in 0 layers, 0 images>"
    assert audit.summary()
    assert audit._repr_html_()


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "PAN", "1 PAN"),
        (0, "layer", "0 layers"),
        (2, "class", "2 classes"),
        (1200, "test", "1,200 tests"),
    ],
)
def test_plurals(number: int, noun: str, text: str) -> None:
    assert plural(number, noun) == text


@pytest.mark.parametrize(
    "bad", ["\x1b[2J", "\n", "\r", "\x00", "\u202e", "\u2028", "\ud800", "\x9b"]
)
def test_what_a_terminal_obeys_is_escaped(bad: str) -> None:
    assert escaped(f"a{bad}b  c").isprintable()
    assert escaped("  é → 鳥") == "  é → 鳥"
    error = ConfigError(f"what{bad}", got=bad)
    assert str(error).replace("\n", "").isprintable()


def test_long_names_lose_their_middle() -> None:
    name = "first" + 5000 * "x" + "last"
    shown = line(f"{name}: 3 PANs in {name}")
    assert len(shown) < 500
    assert shown.startswith("firstxxx")
    assert shown.endswith("xxxlast")
    assert cut("abc", 3) == "abc"
    assert len(cut(name, 50)) == 50
    assert len(line("a b " * 5000)) <= 1000


def test_a_value_that_cannot_be_printed_is_named_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shortened(10**5000) == "a int that cannot be printed"
    assert shortened(Odd()) == "a Odd that cannot be printed"
