"""Table of all probes, and the measures they define.

Limits, options, reports, baselines and docs read this table on demand. Adding a probe takes one
package and one entry here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_pan.probes import (
    blind_spots,
    foveation,
    influence,
    intrusion,
    lines,
    pans,
    position,
    ppp,
    shift,
    uneven,
)
from pytest_pan.probes.probe import Probe
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError, did_you_mean
from pytest_pan.records.measures import Measure

EVERY = "all"
"""Stands for all probes."""

PROBES: tuple[Probe, ...] = (
    pans.PROBE,
    influence.PROBE,
    intrusion.PROBE,
    uneven.PROBE,
    foveation.PROBE,
    lines.PROBE,
    ppp.PROBE,
    position.PROBE,
    blind_spots.PROBE,
    shift.PROBE,
)
"""In report order; a probe may depend on those before it."""


def names() -> tuple[str, ...]:
    """Return the names of all probes."""
    return tuple(probe.name for probe in PROBES)


def choices() -> tuple[str, ...]:
    """Return what users can write for probes: their names, and :data:`EVERY`."""
    return (*names(), EVERY)


def selected(wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted probes and those that are always on, without duplicates, in table order."""
    chosen = set(wanted)
    return tuple(p.name for p in PROBES if p.is_always_on or p.name in chosen or EVERY in chosen)


def measures() -> tuple[Measure, ...]:
    """Return all measures, in table order."""
    return tuple(measure for probe in PROBES for measure in probe.measures)


def by_name() -> Mapping[str, Measure]:
    """Return all measures keyed by name."""
    return {measure.name: measure for measure in measures()}


def find(name: str, *, where: str = "") -> Measure:
    """Return the measure of that name; raise :class:`ConfigError` with a suggestion if unknown."""
    known = by_name()
    if name in known:
        return known[name]
    raise ConfigError(
        f"unknown measure {name!r}",
        where=where,
        allowed=", ".join(known),
        next=did_you_mean(name, known),
    )


def text(name: str, value: float) -> str:
    """Format a value in its measure's unit; as a plain number if the measure is unknown."""
    known = by_name()
    return known[name].text(value) if name in known else f"{value:g}"


def probe_of(name: str) -> str:
    """Return the name of the probe that defines a measure; empty if none does."""
    return next((p.name for p in PROBES if any(m.name == name for m in p.measures)), "")


def read_audit(data: Mapping[str, Any]) -> Audit:
    """Build an audit record from its JSON, with the findings of all known probes."""
    return Audit.from_json(data, {probe.name: probe.read for probe in PROBES})


def markdown() -> str:
    """Return the Markdown tables of probes and measures for docs/reference.md."""
    lines = ["| probe | question | cost |", "|---|---|---|"]
    for probe in PROBES:
        lines.append(f"| `{probe.name}` | {probe.question} | {probe.cost} |")
    lines += [
        "",
        "| measure | probe | unit | better | meaning | per layer | source |",
        "|" + "---|" * 7,
    ]
    for probe in PROBES:
        for m in probe.measures:
            meaning = m.meaning.replace("|", "\\|")
            lines.append(
                f"| `{m.name}` | `{probe.name}` | {m.unit} | {m.better} | {meaning} "
                f"| {m.per_site or '-'} | {m.source} |"
            )
    return "\n".join(lines) + "\n"
