"""HTML report: all audits on one self-contained page, a pure function of the records."""

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
from pytest_pan.probes import advice, table
from pytest_pan.probes.probe import Page, Probe
from pytest_pan.probes.probe import Section as ProbeSection
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.limits import Verdict
from pytest_pan.records.text import plural
from pytest_pan.report import baseline
from pytest_pan.report.outcomes import LEVELS, Outcome, audit_outcome, page_outcome
from pytest_pan.verdicts.judge import bound_text

PAGE = 2_000_000
"""Target maximum size of a page in bytes."""

LEVELS_OF_DETAIL = 4
"""Number of levels that are tried, with less detail each time, until the page is small enough."""

VERDICTS = ("fail", "inconclusive", "pass")
"""Outcomes in page order."""


@dataclass(frozen=True, slots=True)
class Part:
    """Section of a probe, ready to render: its template and the template's data."""

    anchor: str
    template: str
    view: Any
    link: str
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """Data of one audit on the page."""

    id: str
    name: str
    audit: Audit
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    parts: tuple[Part, ...]
    advice: tuple[Advice, ...]
    skips: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def has_pictures(self) -> bool:
        """Whether any part shows pictures, which the content security policy must allow."""
        return any(getattr(part.view, "has_pictures", False) for part in self.parts)


def render(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    command: str = "",
    ran: RunSummary | None = None,
) -> str:
    """Render the page.

    ``partial`` is the reason why the run stopped early, ``ran`` the summary of the run.
    """
    text = ""
    for level in range(LEVELS_OF_DETAIL):
        text = _page(sections(audits, level), partial, created, command, ran)
        if len(text.encode(errors="backslashreplace")) <= PAGE:
            break
    return text


def _page(
    found: Sequence[Section], partial: str, created: str, command: str, ran: RunSummary | None
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
        bound_text=bound_text,
        plural=plural,
        baseline=baseline,
    )


def templates() -> Path:
    """Return the template folder, in the installed package or next to it in the repository."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "report_templates", package.parent / "report_templates"]
    return next((place for place in places if place.is_dir()), places[0])


def environment() -> Environment:
    """Return a Jinja environment that escapes all values and rejects undefined names."""
    return Environment(
        loader=FileSystemLoader(templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy(css: str, script: str, pictures: bool) -> str:
    """Return a content security policy that allows only this style sheet and this script.

    With ``pictures``, embedded images are allowed too.
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
    """Return the measures shown as columns in the table of models."""
    return [
        measure.name
        for measure in table.measures()
        if measure.is_headline and any(measure.name in each.audit.measures for each in found)
    ]


def sections(audits: Sequence[Audit], level: int = 0) -> list[Section]:
    """Build the sections of the audits; anchors depend on names and order only.

    ``level`` 0 shows most, higher levels less (:class:`~pytest_pan.probes.probe.Section`).
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
    """Divide ``total`` evenly; what one audit does not need goes to the others."""
    given = [0] * len(wanted)
    for position, index in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[index] = min(wanted[index], (total - sum(given)) // (len(wanted) - position))
    return given


def slugs(names: Iterable[str]) -> list[str]:
    """Convert names to unique parts of anchors; a duplicate gets a number."""
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
    """Anchors and space of the sections of one audit."""

    anchor: str
    sites: Mapping[str, str]
    shares: dict[str, int] = field(default_factory=dict)

    def build(self, audit: Audit) -> Iterator[Part]:
        """Yield the parts of all probes that have something to show, details last."""
        every = [(probe, section) for probe in table.PROBES for section in _sections_of(probe)]
        for probe, section in sorted(every, key=lambda pair: pair[1].is_detail):
            page = Page(
                anchor=self.anchor, sites=self.sites, share=self.shares.get(section.anchor, 0)
            )
            view = section.view(audit, page)
            if view is not None:
                yield Part(section.anchor, section.template, view, section.link, probe.question)


def _sections_of(probe: Probe) -> tuple[ProbeSection, ...]:
    """Return the probe's sections, or a single section with its lines if it declares none."""
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
        parts=tuple(parts.build(audit)),
        advice=advice.ranked(audit),
        skips=tuple((why, tuple(what)) for why, what in skips),
    )


def _facts(audit: Audit) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    tables: list[tuple[str, Mapping[str, Any]]] = [
        ("Model", audit.model),
        ("Images", audit.images),
        ("Environment", audit.environment),
        ("Settings", audit.settings.to_json()),
        ("Seconds (of an earlier run)" if audit.cached else "Seconds", _seconds(audit)),
    ]
    return tuple(
        (title, tuple((key, plain(value)) for key, value in table.items()))
        for title, table in tables
        if table
    )


def _seconds(audit: Audit) -> dict[str, float]:
    """Return the seconds per stage and the images per second."""
    if not audit.seconds:
        return {}
    stages = {stage: round(taken, 2) for stage, taken in audit.seconds.items()}
    return {**stages, "images per second": round(audit.images_per_second, 2)}


def plain(value: Any) -> str:
    """Format a fact for display: grouped digits, comma-separated lists, mappings as JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, default=str) if isinstance(value, Mapping) else str(value)
