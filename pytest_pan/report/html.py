"""The HTML report: audits as one self-contained page, a pure function of the records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pytest_pan.measures import MEASURES
from pytest_pan.ran import Ran
from pytest_pan.records import PAN_TYPES, Audit, Neuron, Site, Verdict
from pytest_pan.report import beside, charts, graphs, influence
from pytest_pan.report.influence import DASH, measure_text
from pytest_pan.report.outcomes import LEVELS, Outcome, audit_outcome, page_outcome

FIGURES = 300
"""PANs of the page that get a figure, the strongest, shared among its audits. A figure with its
tables takes 5 kB, a row 0.4 kB; 700 PANs with no bin empty made a page of 1.9 MB."""

PAGE = 2_000_000
"""Bytes that a page should not exceed."""

RICHNESS = ((FIGURES, 400_000), (200, 200_000), (100, 100_000), (0, 0))
"""Numbers of figures and characters of pictures, tried in turn until the page is small enough."""


VERDICTS = ("fail", "inconclusive", "pass")
"""In the order of the page."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A row of the layer table (the paper's Table 1)."""

    id: str
    site: Site
    padding: tuple[tuple[int, int, bool], ...]
    """On each side: padding, consumed padding, whether they differ."""
    is_uneven: bool
    pans: str
    share: str
    edge_detectors: str
    is_top: tuple[bool, bool]
    """Whether its number and its share of PANs are among the three largest."""


@dataclass(frozen=True, slots=True)
class Pan:
    """A PAN with its anchor and, for the strongest, its chart."""

    id: str
    neuron: Neuron
    type: str
    words: str
    origins: Mapping[str, str]
    """Where each side of the type has it from; empty where no swap told."""
    chart: charts.Chart | None


@dataclass(frozen=True, slots=True)
class Group:
    """The PANs of one layer, strongest first: those with a figure, then the others."""

    id: str
    site: str
    types: str
    detailed: tuple[Pan, ...]
    others: tuple[Pan, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """All that the page says of one audit."""

    id: str
    name: str
    audit: Audit
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    layers: tuple[Layer, ...]
    types: tuple[tuple[str, int, str], ...]
    influence: influence.View | None
    groups: tuple[Group, ...]
    skips: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def unfigured(self) -> int:
        """Number of PANs whose statistics stand in a table without a figure."""
        return sum(len(group.others) for group in self.groups)

    @property
    def has_origins(self) -> bool:
        """Whether swaps told where any PAN has its sides from."""
        return any(pan.origins for group in self.groups for pan in (*group.detailed, *group.others))

    @property
    def has_pictures(self) -> bool:
        """Whether any sample is shown with its picture."""
        groups = self.influence.comparisons if self.influence else ()
        return any(sample.picture for group in groups for sample in group.samples)


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
    for figures, room in RICHNESS:
        text = _page(sections(audits, figures, room), partial, created, command, ran)
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
        measures=MEASURES,
        marks=charts.TYPE_MARKS,
        side_words=charts.SIDE_WORDS,
        plot=(charts.PLOT_WIDTH, charts.PLOT_HEIGHT),
        graph_size=(graphs.GRAPH_WIDTH, graphs.GRAPH_HEIGHT),
        headings=influence.HEADINGS,
        lines=influence.LINES,
        has_shifts=any("log_odds_shift" in s.audit.measures for s in found),
        measure_text=measure_text,
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


def sections(audits: Sequence[Audit], figures: int = FIGURES, room: int = 0) -> list[Section]:
    """The audits in their order, with anchors that depend on names and that order alone.

    They share a number of ``figures`` of PANs, and ``room``, characters of pictures of samples.
    """
    names = [str(audit.model.get("name") or "model") for audit in audits]
    counts = shares([len(audit.neurons) for audit in audits], figures)
    rooms = shares([influence.wanted(audit) for audit in audits], room)
    rows = zip(audits, names, slugs(names), counts, rooms, strict=True)
    return [_section(*row) for row in rows]


def shares(wanted: Sequence[int], total: int) -> list[int]:
    """``total`` divided evenly, what one does not need going to the others."""
    given = [0] * len(wanted)
    for position, index in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[index] = min(wanted[index], (total - sum(given)) // (len(wanted) - position))
    return given


def slugs(names: Iterable[str]) -> list[str]:
    """Names as parts of an anchor, each different: a name taken already gets a number."""
    taken: dict[str, None] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "unnamed"
        slug, number = base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken[slug] = None
    return list(taken)


def _section(audit: Audit, name: str, anchor: str, figures: int, room: int) -> Section:
    order = list(dict.fromkeys([*(s.name for s in audit.sites), *(n.site for n in audit.neurons)]))
    anchors = {site: f"{anchor}/{slug}" for site, slug in zip(order, slugs(order), strict=True)}
    reasons: dict[str, list[str]] = {}
    for skip in audit.skips:
        reasons.setdefault(skip.why, []).append(skip.what)
    skips = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return Section(
        id=anchor,
        name=name,
        audit=audit,
        outcome=audit_outcome(audit),
        verdicts=tuple(sorted(audit.verdicts, key=lambda v: VERDICTS.index(v.outcome))),
        facts=_facts(audit),
        layers=_layers(audit, anchors),
        types=_types(audit),
        influence=influence.view(audit, room),
        groups=_groups(audit, anchors, figures),
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


def _layers(audit: Audit, anchors: Mapping[str, str]) -> tuple[Layer, ...]:
    with_pans = {neuron.site for neuron in audit.neurons}
    columns = {m: _of_sites(audit, m) for m in ("pan_count", "pan_fraction")}
    limits = {m: (sorted(c.values(), reverse=True)[2:3] or [0.0])[0] for m, c in columns.items()}
    rows = []
    for site in audit.sites:
        pairs = tuple((p, c, p != c) for p, c in zip(site.padding, site.consumed, strict=True))
        top, bottom, left, right = site.consumed
        tops = [0 < columns[m].get(site.name, 0) >= limits[m] for m in columns]
        rows.append(
            Layer(
                id=anchors[site.name] if site.name in with_pans else "",
                site=site,
                padding=pairs,
                is_uneven=top != bottom or left != right,
                pans=_site_text(audit, "pan_count", site.name),
                share=_site_text(audit, "pan_fraction", site.name),
                edge_detectors=_site_text(audit, "edge_detector_count", site.name),
                is_top=(tops[0], tops[1]),
            )
        )
    return tuple(rows)


def _of_sites(audit: Audit, measure: str) -> Mapping[str, float]:
    return audit.measures[measure].sites if measure in audit.measures else {}


def _site_text(audit: Audit, measure: str, site: str) -> str:
    found = _of_sites(audit, measure)
    return measure_text(measure, found[site]) if site in found else DASH


def _types(audit: Audit) -> tuple[tuple[str, int, str], ...]:
    counts, total = audit.type_counts, max(audit.pan_count, 1)
    return tuple((t, counts[t], f"{100 * counts[t] / total:.1f} %") for t in PAN_TYPES)


def _groups(audit: Audit, anchors: Mapping[str, str], figures: int) -> tuple[Group, ...]:
    ranked = sorted(audit.neurons, key=lambda neuron: -neuron.strength)
    by_site: dict[str, tuple[list[Pan], list[Pan]]] = {site: ([], []) for site in anchors}
    told = any(neuron.nascent or neuron.downstream for neuron in ranked)
    for rank, neuron in enumerate(ranked):
        pan = _pan(neuron, anchors[neuron.site], rank < figures, told)
        by_site[neuron.site][rank >= figures].append(pan)
    return tuple(
        _group(site, anchors[site], detailed, others)
        for site, (detailed, others) in by_site.items()
        if detailed or others
    )


def _group(site: str, anchor: str, detailed: Sequence[Pan], others: Sequence[Pan]) -> Group:
    types = Counter(pan.type for pan in (*detailed, *others))
    text = ", ".join(f"{types[t]} {t}" for t in PAN_TYPES if t in types)
    return Group(anchor, site, text, tuple(detailed), tuple(others))


def origin(neuron: Neuron, side: str) -> str:
    """Whether a side goes with the padding of its own layer or with that of the earlier ones."""
    if side in str(neuron.nascent):
        return "nascent"
    return "downstream" if side in str(neuron.downstream) else "undecided"


def _pan(neuron: Neuron, anchor: str, is_drawn: bool, told: bool) -> Pan:
    histogram = neuron.histogram if is_drawn else None
    return Pan(
        id=f"{anchor}/{neuron.channel}",
        neuron=neuron,
        type=str(neuron.type),
        words=charts.words(str(neuron.type)),
        origins={side: origin(neuron, side) for side in str(neuron.type)} if told else {},
        chart=charts.chart(neuron, histogram) if histogram else None,
    )
