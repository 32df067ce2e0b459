"""The HTML report: audits as one self-contained page, a pure function of the records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pytest_pan.charts import densities
from pytest_pan.probes import table
from pytest_pan.probes.probe import Page, Probe
from pytest_pan.probes.probe import Section as ProbeSection
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Ran
from pytest_pan.records.limits import Verdict
from pytest_pan.report import baseline as beside
from pytest_pan.report.outcomes import LEVELS, Outcome, audit_outcome, page_outcome

PAGE = 2_000_000
"""Bytes that a page should not exceed."""

LEVELS_OF_DETAIL = 4
"""How often a page is made anew with less, until it is small enough."""

VERDICTS = ("fail", "inconclusive", "pass")
"""In the order of the page."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a probe: its template and what that shows."""

    anchor: str
    template: str
    view: Any
    link: str
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """All that the page says of one audit."""

    id: str
    name: str
    audit: Audit
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    parts: tuple[Part, ...]
    skips: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def has_pictures(self) -> bool:
        """Whether any part shows pictures, which the page's policy has to allow."""
        return any(getattr(part.view, "has_pictures", False) for part in self.parts)


def render(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    command: str = "",
    ran: Ran | None = None,
) -> str:
    """The whole page; ``partial`` says why the run as a whole did not reach its end, ``ran`` what
    was expected of it.
    """
    text = ""
    for level in range(LEVELS_OF_DETAIL):
        text = _page(sections(audits, level), partial, created, command, ran)
        if len(text.encode()) <= PAGE:
            break
    return text


def _page(
    found: Sequence[Section], partial: str, created: str, command: str, ran: Ran | None
) -> str:
    env = environment()
    css, script = (
        (templates() / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    page = page_outcome([section.audit for section in found], partial, ran)
    return env.get_template("report.html").render(
        css=css,
        script=script,
        policy=policy(css, script, any(section.has_pictures for section in found)),
        outcome=page,
        partial=partial,
        ran=ran,
        created=created,
        command=command,
        sections=sorted(found, key=lambda section: LEVELS.index(section.outcome.level)),
        measures=table.measures(),
        headlines=_headlines(found),
        marks=densities.TYPE_MARKS,
        side_words=densities.SIDE_WORDS,
        plot=(densities.PLOT_WIDTH, densities.PLOT_HEIGHT),
        measure_text=table.text,
        beside=beside,
    )


def templates() -> Path:
    """The first folder of templates there is: in the installed package, or beside it."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "report_templates", package.parent / "report_templates"]
    return next((place for place in places if place.is_dir()), places[0])


def environment() -> Environment:
    """Jinja with every value escaped and every unknown name an error."""
    return Environment(
        loader=FileSystemLoader(templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy(css: str, script: str, pictures: bool) -> str:
    """The page's content security policy: nothing but this style sheet and this script, and
    where there are pictures those that the page itself contains.
    """
    style, code = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{code}'; "
        + ("img-src data:; " if pictures else "")
        + "base-uri 'none'; form-action 'none'"
    )


def _headlines(found: Sequence[Section]) -> list[str]:
    """The measures that a table of several models has a column for."""
    return [
        measure.name
        for measure in table.measures()
        if measure.is_headline and any(measure.name in each.audit.measures for each in found)
    ]


def sections(audits: Sequence[Audit], level: int = 0) -> list[Section]:
    """Make the audits' sections in their order, with anchors that depend on names and order alone.

    ``level``: 0 shows most, the next ones less (:class:`~pytest_pan.probes.probe.Section`).
    """
    names = [str(audit.model.get("name") or "model") for audit in audits]
    anchors = slugs(names)
    parts = [_parts(audit, anchor) for audit, anchor in zip(audits, anchors, strict=True)]
    declared = [section for probe in table.PROBES for section in probe.sections]
    for section in declared:
        wanted = [section.demand(audit) for audit in audits]
        for share, of_audit in zip(shares(wanted, section.levels[level]), parts, strict=True):
            of_audit.shares[section.anchor] = share
    rows = zip(audits, names, parts, strict=True)
    return [_section(audit, name, of_audit) for audit, name, of_audit in rows]


def shares(wanted: Sequence[int], total: int) -> list[int]:
    """``total`` divided evenly, what one does not need going to the others."""
    given = [0] * len(wanted)
    for position, index in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[index] = min(wanted[index], (total - sum(given)) // (len(wanted) - position))
    return given


def slugs(names: Iterable[str]) -> list[str]:
    """Make each name a part of an anchor, all different: a name already taken gets a number."""
    taken: dict[str, None] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "unnamed"
        slug, number = base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken[slug] = None
    return list(taken)


@dataclass(slots=True)
class _Parts:
    """What the sections of one audit are made of."""

    anchor: str
    sites: Mapping[str, str]
    shares: dict[str, int] = field(default_factory=dict)

    def of(self, audit: Audit) -> Iterator[Part]:
        """Make the parts of all probes that have something to show, details last."""
        every = [(probe, section) for probe in table.PROBES for section in _sections_of(probe)]
        for probe, section in sorted(every, key=lambda pair: pair[1].is_detail):
            page = Page(
                anchor=self.anchor, sites=self.sites, share=self.shares.get(section.anchor, 0)
            )
            view = section.view(audit, page)
            if view is not None:
                yield Part(section.anchor, section.template, view, section.link, probe.question)


def _sections_of(probe: Probe) -> tuple[ProbeSection, ...]:
    """The probe's sections; one of its lines where it declares none."""
    if probe.sections:
        return probe.sections

    def view(audit: Audit, _page: Page) -> tuple[str, ...] | None:
        return tuple(probe.lines(audit)) or None

    return (ProbeSection(anchor=probe.name, template="lines.html", view=view),)


def _parts(audit: Audit, anchor: str) -> _Parts:
    order = list(dict.fromkeys([*(s.name for s in audit.sites), *(n.site for n in audit.neurons)]))
    sites = {site: f"{anchor}/{slug}" for site, slug in zip(order, slugs(order), strict=True)}
    return _Parts(anchor, sites)


def _section(audit: Audit, name: str, parts: _Parts) -> Section:
    reasons: dict[str, list[str]] = {}
    for skip in audit.skips:
        reasons.setdefault(skip.why, []).append(skip.what)
    skips = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return Section(
        id=parts.anchor,
        name=name,
        audit=audit,
        outcome=audit_outcome(audit),
        verdicts=tuple(sorted(audit.verdicts, key=lambda v: VERDICTS.index(v.outcome))),
        facts=_facts(audit),
        parts=tuple(parts.of(audit)),
        skips=tuple((why, tuple(what)) for why, what in skips),
    )


def _facts(audit: Audit) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    tables: list[tuple[str, Mapping[str, Any]]] = [
        ("Model", audit.model),
        ("Images", audit.images),
        ("Environment", audit.environment),
        ("Settings", audit.settings.to_json()),
        ("Seconds, of an earlier run" if audit.cached else "Seconds", _seconds(audit)),
    ]
    return tuple(
        (title, tuple((key, plain(value)) for key, value in table.items()))
        for title, table in tables
        if table
    )


def _seconds(audit: Audit) -> dict[str, float]:
    """Where the time went, and how many images a second that makes."""
    if not audit.seconds:
        return {}
    stages = {stage: round(taken, 2) for stage, taken in audit.seconds.items()}
    return {**stages, "images per second": round(audit.images_per_second, 2)}


def plain(value: Any) -> str:
    """A fact as people read it: digits grouped, lists joined by commas, mappings as JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, default=str) if isinstance(value, Mapping) else str(value)
