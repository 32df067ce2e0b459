"""The section on the predictions, read back from the page and held against planted numbers."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from pathlib import Path

import pytest
from build import (
    HOSTILE,
    hostile,
    make_audit,
    make_control,
    make_influence,
    make_neuron,
    make_plans,
    make_png,
)
from pages import Page, browse

from pytest_pan.probes import probe
from pytest_pan.probes.influence import classes, report
from pytest_pan.probes.influence import samples as affected
from pytest_pan.probes.influence.records import Influence, Sample
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import Side
from pytest_pan.report import html

TITLE = "Effect of the padding on the predictions"


def section(audit: Audit) -> str:
    text = html.render([audit])
    heads = re.findall('<h3 id="[^"]+:(?:influence|pans)"', text)
    start, end = map(text.index, heads)
    return text[start:end]


def rows(text: str, name: str) -> list[list[str]]:
    """Cells of the tables of that class, a list a body row."""
    tables = re.findall(rf'<table class="{name}">.*?</table>', text, re.S)
    bodies = [line for table in tables for line in re.findall(r"<tr.*?</tr>", table, re.S)]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in bodies if "<td" in line]
    return [[re.sub("<[^>]+>", "", cell) for cell in line] for line in cells]


def odds_of(*odds: float, width: float = 0.0, **changes: object) -> Influence:
    logs = tuple(math.log(value) for value in odds)
    ends = {
        "log_odds_low": tuple(v - width for v in logs),
        "log_odds_high": tuple(v + width for v in logs),
    }
    return make_influence(log_odds=logs, **ends | changes)


def test_an_audit_without_plans_has_no_such_section() -> None:
    assert TITLE not in html.render([make_audit()])


def test_the_section_stands_between_the_types_and_the_pans() -> None:
    text = html.render([make_audit(influence=make_plans())])
    places = [text.index(f">{title}</h3>") for title in ("Types", TITLE, "Padding aware neurons")]
    assert places == sorted(places)


def test_classes_beyond_seven_percent_stand_on_their_side_farthest_first() -> None:
    swap = odds_of(1.071, 0.9, 1.069, 1.3, 1 / 1.071, 1 / 1.069, 0.5)
    found = rows(section(make_audit(influence=(swap,), classes=tuple("abcdefg"))), "classes")
    assert [line[:2] for line in found] == [
        ["g", "0.500"],
        ["b", "0.900"],
        ["e", "0.934"],
        ["d", "1.300"],
        ["a", "1.071"],
    ]


def test_an_interval_of_the_odds_is_that_of_the_log_odds() -> None:
    swap = odds_of(0.8, width=math.log(1.25))
    assert rows(section(make_audit(influence=(swap,))), "classes")[0] == [
        "class 0",
        "0.800",
        "0.640 to 1.000",
    ]


def test_a_side_shows_thirty_classes_and_says_how_many_more_there_are() -> None:
    swap = odds_of(*(1.1 + 0.01 * n for n in range(42)), 0.5)
    text = section(make_audit(influence=(swap,)))
    assert len(rows(text, "classes")) == 1 + 30
    assert "12 more classes in the JSON report." in Page(text).text


@pytest.mark.parametrize(
    ("log_odds", "text"),
    [(-math.inf, "0"), (math.inf, "∞"), (20.0, "4.85e+08"), (1e4, "1.01e+304"), (-1e4, "0.000")],
)
def test_odds_without_bounds_are_still_words(log_odds: float, text: str) -> None:
    assert classes.odds(log_odds) == text


def test_classes_without_finite_odds_leave_the_figures_and_stay_in_the_table() -> None:
    swap = make_influence(log_odds=(-math.inf, 0.5, math.nan))
    text = section(make_audit(influence=(swap,)))
    assert "2 without finite log-odds left out" in text
    assert ["class 0", "0"] in [line[:2] for line in rows(text, "classes")]
    assert "nan" not in text.lower()


def test_a_plan_says_what_it_swapped_and_what_came_of_it() -> None:
    swap = odds_of(
        1.2,
        0.7,
        1.01,
        images=2000,
        prediction_flips=1234,
        top5_flips=17,
        sample_influence=4.25,
        mean_log_odds_shift=0.125,
        divergence=0.5,
        divergence_99=0.75,
        accuracy_before=0.75,
        accuracy=0.5,
        flips_to_right=3,
        flips_to_wrong=503,
    )
    audit = make_audit(influence=(swap,), classes=("tench", "drum", "tent"))
    assert rows(section(audit), "plans") == [
        [
            "PAN-reflect",
            "81",
            "0.125",
            "\N{MINUS SIGN}0.357 drum",
            "2 of 3",
            "0.5, 0.75",
            "1,234 of 2,000",
            "17 of 2,000",
            "4.25",
            "75.00 % → 50.00 %",
            "3, 503",
        ]
    ]


def test_what_does_not_apply_is_a_dash() -> None:
    nothing = make_influence(
        "reflect",
        size=None,
        log_odds=(),
        log_odds_low=(),
        log_odds_high=(),
        prediction_flips=None,
        top5_flips=None,
        images=0,
    )
    text = section(make_audit(influence=(nothing,)))
    assert rows(text, "plans") == [["reflect", "all", *9 * ["\N{EN DASH}"]]]
    assert "so there are no odds" in text
    assert "<svg class=" not in text


def test_draws_are_told_apart_by_their_seeds() -> None:
    names = [line[0] for line in rows(section(make_audit(influence=make_plans(2))), "plans")]
    assert names == ["PAN-reflect", "RAND-reflect seed 0", "RAND-reflect seed 1", "reflect"]


def test_ten_draws_have_a_line_and_the_page_says_of_how_many() -> None:
    text = section(make_audit(influence=make_plans(12)))
    ordered = text[text.index("<svg class") : text.index("</svg>", text.index("<svg class"))]
    assert ordered.count('class="truncated"') == 10
    assert "Only the first 10 of 12 draws are drawn." in text


def test_each_padding_mode_has_its_own_figures() -> None:
    modes = ("reflect", "mean")
    text = section(make_audit(influence=tuple(make_influence(f"PAN-{m}") for m in modes)))
    assert re.findall("<h4>Padding swapped for (.*?)</h4>", text) == [*modes]
    assert text.count("<figcaption>Log-odds of the classes in ascending order") == 2


def held(*draws: float) -> Audit:
    plain = make_audit(influence=make_plans(len(draws)))
    control: dict[str, Measured] = {"log_odds_shift": make_control(draws=draws)}
    return dataclasses.replace(plain, measures={**plain.measures, **control})


def test_a_measure_stands_beside_its_draws() -> None:
    (line,) = rows(section(held(0.2, 0.01, 0.03)), "held")
    numbers = [float(cell) for cell in line[1:2] + line[3:5]]
    assert line[0] == "log_odds_shift"
    assert numbers == pytest.approx([0.15, 0.08, 0.07])
    assert [float(end) for end in line[2].split(" to ")] == pytest.approx([0.12, 0.19])
    assert line[5] == "2 of 4"


@pytest.mark.parametrize("draws", [(), (0.01,)])
def test_fewer_than_two_draws_tell_nothing_and_the_page_says_so(draws: tuple[float, ...]) -> None:
    text = section(held(*draws))
    assert re.search("single draw cannot show|is unknown whether", text)
    assert " of 2<" not in text


def test_no_number_of_draws_makes_the_page_call_a_shift_real() -> None:
    for draws in ((), (0.01,), (0.01,) * 20):
        words = Page(section(held(*draws))).text.lower()
        assert not re.search(r"\breal\b|significan|proves?\b|confirm", words)


def test_hostile_class_names_and_plans_are_only_text() -> None:
    text = html.render([hostile()])
    assert "<b onclick" not in text
    assert HOSTILE in Page(text).text


def test_a_page_without_pictures_may_load_none() -> None:
    text = html.render([make_audit(influence=(make_influence(),))])
    assert "img-src" not in text


def test_a_page_with_pictures_may_load_only_its_own() -> None:
    page = Page(html.render([make_audit(influence=make_plans())]))
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("img-src") == "data:"
    assert rules.keys() == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert {rules[k] for k in ("default-src", "base-uri", "form-action")} == {"'none'"}
    assert all(re.fullmatch(r"'sha256-[\w+/=]+'", rules[k]) for k in ("style-src", "script-src"))


def test_a_browser_shows_the_pictures_under_the_policy(tmp_path: Path) -> None:
    _, log = browse(tmp_path, html.render([make_audit(influence=make_plans())]))
    assert not re.search("Refused|violates|Uncaught|CONSOLE", log)


def test_only_a_png_is_a_picture() -> None:
    found = affected.picture(make_png(side=31))
    assert found
    assert (found.width, found.height) == (31, 31)
    gif = base64.b64encode(b"GIF89a" + 40 * b"x").decode()
    assert [affected.picture(text) for text in ("", "javascript:alert(1)", gif, "ü")] == [None] * 4


def test_the_most_affected_images_are_named_and_described() -> None:
    samples = (
        Sample(index=7, distance=4.5, before=0, after=1, label=1, thumbnail=make_png()),
        Sample(index=3, distance=2.0, before=1, after=1, thumbnail=make_png(1)),
        Sample(index=5, distance=0.25),
    )
    swap = make_influence(samples=samples)
    text = section(make_audit(influence=(swap,), classes=("tench", "drum")))
    listed = re.findall(r"<li>.*?</li>", text, re.S)
    found = [" ".join(Page(item).text.split()) for item in listed]
    assert found == [
        "image 7 distance 4.5tench → drumlabel: drum",
        "image 3 distance 2drum, as before",
        "image 5 distance 0.25",
    ]
    assert Page(text).attributes("alt") == ["Image 7, labelled drum", "Image 3, predicted as drum"]


def test_pictures_that_do_not_fit_are_left_out_and_counted() -> None:
    audit = make_audit(influence=make_plans())
    room = len(audit.influence[0].samples[0].thumbnail)
    seen = report.view(audit, probe.Page(anchor="net", sites={}, share=room))
    assert seen
    (comparison,) = seen.comparisons
    assert [bool(s.picture) for s in comparison.samples] == [True, False, False, False]
    assert comparison.pictures_left_out == 3


def test_a_page_of_many_audits_with_plans_stays_under_two_megabytes() -> None:
    neurons = [make_neuron(channel=c, type="TBLR") for c in range(60)]
    heavy = make_plans(5, classes=1000)
    samples = tuple(dataclasses.replace(s, thumbnail=make_png(1, 600)) for s in heavy[0].samples)
    plans = (dataclasses.replace(heavy[0], samples=samples * 3), *heavy[1:])
    audits = [make_audit(f"net{n}", neurons=neurons, influence=plans) for n in range(10)]
    assert len(html.render(audits).encode()) <= html.PAGE


def test_layers_that_kept_their_padding_are_named_with_the_reason() -> None:
    swap = make_influence(not_swappable={"features.9": "map too small", "features.8": "no map"})
    text = Page(section(make_audit(influence=(swap, swap)))).text
    assert "map too small 1" in text
    assert text.count("features.9") == 1


def test_segmentation_is_counted_in_pixels_and_by_distance() -> None:
    swap = make_influence(by_distance=(0.5, 0.875), prediction_flips=99)
    text = section(make_audit(influence=(swap,)))
    assert rows(text, "rings") == [["PAN-reflect", "50.00 %", "87.50 %"]]
    assert rows(text, "plans")[0][6] == "99 pixels"


def test_a_pan_says_by_side_where_it_has_it_from() -> None:
    told = make_neuron(type="TBL", nascent=Side.T, downstream=Side.L, histogram=None)
    text = html.render([make_audit(neurons=[told], sites=1)])
    for side, word in (("top", "nascent"), ("bottom", "undecided"), ("left", "downstream")):
        line = re.search(rf'<tr class="hit"><th scope="row">{side}</th>.*?</tr>', text)
        assert line
        assert f"PAN, {word}<" in line[0]


def test_without_swaps_no_pan_is_called_undecided() -> None:
    assert "undecided" not in html.render([make_audit(neurons=5)])


def test_the_summary_of_models_has_the_shift_where_one_is_known() -> None:
    text = html.render([held(0.01, 0.02), make_audit("other")])
    table = text[text.index("Models, failures first") : text.index("</table>")]
    assert table.count("<code>log_odds_shift</code>") == 1
    assert re.search(r"<td>0\.15\d*</td>", table)
    without = html.render([make_audit("a"), make_audit("b")])
    assert "log_odds_shift" not in without[: without.index("</table>")]


def test_a_class_with_little_support_is_neither_the_largest_nor_counted() -> None:
    swap = odds_of(2.0, 0.7, 1.01)
    shift = Measured(
        measure="log_odds_shift", value=0.357, support={"tench": 0.9, "drum": 1.0, "tent": 99.0}
    )
    audit = make_audit(influence=(swap,), classes=("tench", "drum", "tent"))
    text = section(dataclasses.replace(audit, measures={**audit.measures, "log_odds_shift": shift}))
    assert rows(text, "plans")[0][3:5] == ["\N{MINUS SIGN}0.357 drum", "1 of 2"]
    assert "tench" not in text


@pytest.mark.parametrize(
    ("interval", "end"),
    [
        ((1.6, 3.0), "random neurons of the same layers, at least 1.6"),
        ((0.8, 3.0), "at least 0.8 (1 is not excluded: it may be chance)"),
        (None, "random neurons of the same layers"),
    ],
)
def test_one_sentence_says_how_far_pans_move_odds_beside_random_neurons(
    interval: tuple[float, float] | None, end: str
) -> None:
    ratio = Measured(measure="log_odds_ratio", value=2.3, interval=interval)
    audit = make_audit(influence=make_plans())
    audit = dataclasses.replace(audit, measures={**audit.measures, "log_odds_ratio": ratio})
    line = list(report.lines(audit))[-1]
    assert line.strip().startswith("the PANs move the odds of classes 2.3 times as far as ")
    assert line.endswith(end)
    assert f"{end}.</strong>" in section(audit)
