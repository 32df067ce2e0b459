"""The HTML report, read back with a parser and, where there is one, with a browser.

Longer than 350 lines: every section is checked on the same few rendered pages.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from build import (
    HOSTILE,
    hostile,
    make_audit,
    make_histogram,
    make_neuron,
    make_plans,
    make_ran,
    make_site,
    make_verdict,
    plain_twin,
)
from pages import Page, browse, contrast, opened

from pytest_pan.probes import table
from pytest_pan.probes.pans.report import FIGURES
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.neurons import PAN_TYPES, Side
from pytest_pan.report import html


def rich() -> Audit:
    """An audit that uses every part of the page."""
    verdicts = (
        make_verdict("max_pan_count", bound=900, value=3),
        make_verdict(outcome="fail", bound=0.01, value=0.2, evidence=["features.0.conv: 3 of 512"]),
    )
    return make_audit(neurons=20, verdicts=verdicts, notes=("5 images are few",))


def tag_counts(page: Page) -> Counter[str]:
    return Counter(tag for tag, _ in page.tags)


def test_hostile_texts_add_no_tag_and_no_attribute() -> None:
    attacked = Page(html.render([hostile()], partial=HOSTILE, created=HOSTILE, command=HOSTILE))
    calm = Page(html.render([plain_twin()], partial="p", created="c", command="c"))
    assert tag_counts(attacked) == tag_counts(calm)
    assert [sorted(a) for _, a in attacked.tags] == [sorted(a) for _, a in calm.tags]


def test_hostile_texts_are_shown_as_they_are() -> None:
    page = Page(html.render([hostile()]))
    shown = {int(n) for n in re.findall(re.escape(HOSTILE) + r"(\d+);", page.text)}
    as_json = {9, 10}
    channels_and_no_pictures = {23, 24, 29, 30}
    assert shown == set(range(33)) - as_json - channels_and_no_pictures


@functools.cache
def pages() -> dict[str, str]:
    rich_twice = [rich(), dataclasses.replace(rich(), partial="out of memory")]
    return {
        "rich": html.render(
            rich_twice,
            partial="stopped",
            created="today",
            command="pytest",
            ran=make_ran(rich_twice, had=3, tests=4),
        ),
        "hostile": html.render([hostile()]),
        "plans": html.render([make_audit(influence=make_plans()), make_audit()]),
        "bare": html.render([make_audit(neurons=0)]),
        "nothing examined": html.render([make_audit(sites=0, neurons=0)]),
        "no audits": html.render([]),
    }


@pytest.fixture(params=["rich", "hostile", "plans", "bare", "nothing examined", "no audits"])
def page(request: pytest.FixtureRequest) -> Page:
    return Page(pages()[request.param])


def test_an_expected_audit_that_nobody_had_keeps_the_page_from_looking_green() -> None:
    audits = [make_audit(verdicts=(make_verdict(),))]
    whole, short = (make_ran(audits, had=had, models=2, left_out=1) for had in (2, 1))
    outcomes = []
    for ran in (whole, short):
        page = html.render(audits, ran=ran)
        outcomes += re.findall(r'<p class="outcome (\w+)">([^<]+)</p>', page)
        assert ran.line() in Page(page).text
    assert outcomes == [
        ("pass", "1 limit passed"),
        ("warn", "1 of 2 expected audits missing, 1 limit passed"),
    ]


def test_every_tag_is_closed_in_order(page: Page) -> None:
    assert page.unclosed == []


def test_the_policy_allows_exactly_this_style_and_this_script(page: Page) -> None:
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        digest = hashlib.sha256("".join(page.inside(tag)).encode()).digest()
        assert f"{directive} 'sha256-{base64.b64encode(digest).decode()}'" in policy.split("; ")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_page_has_one_style_and_one_script(page: Page) -> None:
    counts = tag_counts(page)
    assert (counts["style"], counts["script"]) == (1, 1)


def test_nothing_is_styled_or_scripted_by_attributes(page: Page) -> None:
    names = {name for _, attrs in page.tags for name in attrs}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    assert all(re.match(r"data:image/png;base64,[\w+/=]+$", s) for s in page.attributes("src"))
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert "link" not in tag_counts(page)
    assert not re.search(r"url\(|@import|https?:", "".join(page.inside("style")))


def test_ids_are_unique_and_every_internal_reference_has_its_target(page: Page) -> None:
    ids = Counter(page.attributes("id"))
    assert max(ids.values()) == 1
    references = [link.removeprefix("#") for link in page.attributes("href")]
    for name in ("aria-labelledby", "for"):
        references += [ref for value in page.attributes(name) for ref in value.split()]
    assert set(references) <= set(ids)


def test_headings_begin_with_one_h1_and_skip_no_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_table_has_a_caption_and_every_header_cell_a_scope(page: Page) -> None:
    counts = tag_counts(page)
    assert counts["caption"] == counts["table"]
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")


def test_every_picture_is_described_or_marked_as_decoration(page: Page) -> None:
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    charts = [attrs for attrs in pictures if attrs.get("role") == "img"]
    assert all("aria-labelledby" in a or a.get("aria-hidden") == "true" for a in pictures)
    counts = tag_counts(page)
    assert counts["desc"] == len(charts)


def test_the_type_table_sums_to_the_pans() -> None:
    audit = make_audit(neurons=23)
    text = html.render([audit])
    row = re.search(r'<tr class="counts">(.*?)</tr>', text, re.S)
    assert row
    numbers = [int(cell) for cell in re.findall(r"<td[^>]*>(\d+)</td>", row[1])]
    assert len(numbers) == len(PAN_TYPES) + 1
    assert sum(numbers[:-1]) == numbers[-1] == 23


def test_every_pan_can_be_linked_to() -> None:
    audit = make_audit("net", neurons=20)
    ids = Page(html.render([audit])).attributes("id")
    assert {f"net/{n.site}/{n.channel}" for n in audit.neurons} <= set(ids)


def test_an_anchor_does_not_depend_on_how_the_models_fared() -> None:
    calm = [make_audit("net"), make_audit("net")]
    failing = [calm[0], dataclasses.replace(calm[1], verdicts=(make_verdict(outcome="fail"),))]
    anchors = [
        {i for i in Page(html.render(a)).attributes("id") if i.startswith("net")}
        for a in (calm, failing)
    ]
    assert anchors[0] == anchors[1]


def test_names_that_look_alike_as_anchors_stay_apart() -> None:
    assert len({*html.slugs(["a b", "a/b", "a-b", "a-b-2", "", "ü"])}) == 6


def test_a_failed_limit_stands_before_those_that_passed() -> None:
    text = html.render([rich()])
    assert text.index("max_pan_fraction") < text.index("max_pan_count")


def test_a_failing_model_stands_before_a_passing_one() -> None:
    passing = make_audit("good", verdicts=(make_verdict(),))
    failing = make_audit("bad", verdicts=(make_verdict(outcome="fail"),))
    text = html.render([passing, failing])
    assert text.index('<h2 id="bad">') < text.index('<h2 id="good">')


def test_a_partial_run_is_announced_before_anything_else() -> None:
    text = html.render([rich()], partial="interrupted")
    body = text[text.index("<header") :]
    assert body.index("interrupted") < body.index("<h1>")


def test_a_partial_audit_is_announced_before_anything_else() -> None:
    text = html.render([dataclasses.replace(rich(), partial="out of memory")])
    body = text[text.index("<header") :]
    assert body.index("out of memory") < body.index("<h1>")


@pytest.mark.parametrize(
    ("audits", "partial"),
    [
        pytest.param([], "", id="no audit"),
        pytest.param([make_audit()], "", id="no limit"),
        pytest.param([make_audit(verdicts=(make_verdict(),))], "stopped", id="stopped run"),
        pytest.param(
            [make_audit(verdicts=(make_verdict(),), partial="stopped")], "", id="stopped audit"
        ),
        pytest.param(
            [make_audit(sites=0, neurons=0, verdicts=(make_verdict(),))], "", id="nothing examined"
        ),
        pytest.param(
            [make_audit("a", verdicts=(make_verdict(),)), make_audit("b")], "", id="one of two"
        ),
        pytest.param([make_audit(verdicts=(make_verdict(outcome="fail"),))], "", id="failed"),
    ],
)
def test_only_a_run_that_checked_everything_looks_green(audits: list[Audit], partial: str) -> None:
    text = html.render(audits, partial=partial)
    assert '<p class="outcome pass">' not in text


def test_a_run_that_checked_everything_looks_green() -> None:
    text = html.render([make_audit(verdicts=(make_verdict(),))])
    assert '<p class="outcome pass">1 limit passed</p>' in text


def test_figures_go_to_the_strongest_and_the_page_says_so() -> None:
    weak, strong = (dict.fromkeys("TBLR", value) for value in (0.55, 0.95))
    histogram = make_histogram()
    neurons = [
        make_neuron(
            channel=c, ks_plus=strong if c >= 40 else weak, ks_minus=weak, histogram=histogram
        )
        for c in range(40 + FIGURES[0])
    ]
    page = Page(html.render([make_audit("net", sites=[make_site()], neurons=neurons)]))
    drawn = {a["id"] for tag, a in page.tags if tag == "article"}
    assert drawn == {f"net/features.0.conv/{c}" for c in range(40, 40 + FIGURES[0])}
    assert f"strongest {FIGURES[0]} of {40 + FIGURES[0]} PANs" in page.text
    assert "other 40" in page.text


def test_the_statistics_of_a_pan_without_a_figure_remain() -> None:
    neurons = [make_neuron(channel=c, type="TBLR", histogram=None) for c in range(FIGURES[0] + 1)]
    weakest = min(neurons, key=lambda neuron: neuron.strength)
    text = html.render([make_audit("net", sites=[make_site()], neurons=neurons)])
    row = re.search(rf'<tr id="net/features.0.conv/{weakest.channel}">.*?</tr>', text)
    assert row
    for by_side in (weakest.ks, weakest.ks_plus, weakest.ks_minus):
        assert all(f"<td>{value:.3f}</td>" in row[0] for value in by_side.values())


@pytest.mark.parametrize(
    ("wanted", "total", "given"),
    [([5, 5], 20, [5, 5]), ([500, 200], 300, [150, 150]), ([10, 500, 40], 300, [10, 250, 40])],
)
def test_figures_one_audit_does_not_need_go_to_the_others(
    wanted: list[int], total: int, given: list[int]
) -> None:
    assert html.shares(wanted, total) == given


def test_seven_hundred_pans_with_busy_histograms_stay_under_two_megabytes() -> None:
    histogram = make_histogram("TBLR", bins=100, values=4000)
    audits = []
    for name, count in (("mobilenet_v2", 450), ("mobilenet_v3_large", 250)):
        sites = [make_site(f"features.{i}.block.1.conv", channels=512) for i in range(50)]
        neurons = [
            make_neuron(sites[i % 50].name, 100 + i, "TBLR", histogram=histogram)
            for i in range(count)
        ]
        audits.append(make_audit(name, sites=sites, neurons=neurons))
    assert len(html.render(audits).encode()) <= 2_000_000


def test_a_site_without_a_value_shows_a_dash() -> None:
    audit = make_audit(sites=1, neurons=0)
    measures = {k: dataclasses.replace(m, sites={}) for k, m in audit.measures.items()}
    text = html.render([dataclasses.replace(audit, measures=measures)])
    row = re.search(r'<tr class="layer">.*?</tr>', text)
    assert row
    assert row[0].count("<td>\N{EN DASH}</td>") == 3


def test_unread_padding_is_marked_and_called_uneven() -> None:
    text = html.render([make_audit(sites=[make_site(consumed=(1, 0, 1, 1))], neurons=0)])
    row = re.search(r'<tr class="layer">.*?</tr>', text)
    assert row
    assert "1, <mark>0</mark>, 1, 1" in row[0]
    assert "uneven" in row[0]


def test_the_glossary_defines_every_measure() -> None:
    text = Page(html.render([])).text
    assert all(measure.meaning in text and measure.source in text for measure in table.measures())


def test_skips_are_counted_by_their_reason() -> None:
    skips = [Skip(what=f"conv{i}", why="1x1 kernel" if i % 3 else "no padding") for i in range(9)]
    text = Page(html.render([make_audit(skips=tuple(skips))])).text
    assert "1x1 kernel 6" in text
    assert "no padding 3" in text
    assert all(skip.what in text for skip in skips)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_contrast_enough_in_both_themes(theme: int) -> None:
    css = "".join(Page(html.render([])).inside("style"))
    block = re.findall(r":root \{(.*?)\}", css, re.S)[theme]
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block))
    inks = ["ink", "soft", "link", "fail", "warn", "pass"]
    texts = [(ink, "page") for ink in inks]
    texts += [("ink", ground) for ground in ("panel", "warn-bg", "fail-bg", "mark")]
    texts += [(ink, f"{ink}-bg") for ink in ("fail", "warn", "pass")] + [("link", "warn-bg")]
    assert all(contrast(colour[a], colour[b]) >= 4.5 for a, b in texts)
    lines = ["border", "truncated", "strong"]
    assert all(contrast(colour[line], colour["page"]) >= 3 for line in lines)


def test_a_browser_runs_the_page_without_breaking_its_policy(tmp_path: Path) -> None:
    dom, log = browse(tmp_path, html.render([rich(), hostile()]))
    assert not re.search("Refused|violates|Uncaught|CONSOLE", log)
    search = next(a for tag, a in Page(dom).tags if a.get("role") == "search")
    assert "hidden" not in search
    assert opened(dom) == set()


def test_the_browser_test_would_notice_a_broken_policy(tmp_path: Path) -> None:
    text = html.render([rich()]).replace('"use strict";', '"use strict"; ')
    dom, log = browse(tmp_path, text)
    assert re.search("Refused|violates", log)
    assert "hidden" in next(a for tag, a in Page(dom).tags if a.get("role") == "search")


def test_a_deep_link_opens_the_layer_of_its_neuron_and_no_other(tmp_path: Path) -> None:
    dom, _ = browse(tmp_path, html.render([rich()]), "#mobilenet_v2/features.1.conv/3")
    assert opened(dom) == {"mobilenet_v2/features.1.conv"}


def test_the_search_leaves_what_matches_and_opens_its_layer(tmp_path: Path) -> None:
    text = re.sub("<meta http-equiv[^>]*>", "", html.render([rich()]))
    typed = (
        "const box = document.getElementById('page:query'); box.value = 'features.1 neuron 3';"
        "box.dispatchEvent(new Event('input'));"
    )
    dom, _ = browse(tmp_path, text.replace("</body>", f"<script>{typed}</script></body>"))
    articles = [attrs for tag, attrs in Page(dom).tags if tag == "article"]
    left = {attrs["id"] for attrs in articles if "hidden" not in attrs}
    assert left == {"mobilenet_v2/features.1.conv/3"}
    assert opened(dom) == {"mobilenet_v2/features.1.conv"}


def test_a_neuron_that_the_error_leaves_open_says_on_which_sides() -> None:
    side, none = Side.parse("TB"), Side(0)
    neurons = [
        make_neuron(channel=at, error=0.0012, undecided=open_)
        for at, open_ in ((1, side), (2, none))
    ]
    page = html.render([make_audit(sites=[make_site()], neurons=neurons)])
    assert page.count("undecided on TB (error ±0.0012)") == 1
