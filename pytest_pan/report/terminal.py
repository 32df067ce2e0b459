"""The terminal section: plain lines, the same figures as on every other surface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.limits import Verdict
from pytest_pan.report import baseline as beside


def lines(audits: Sequence[Audit]) -> Iterator[str]:
    """All audits, one after another."""
    for audit in audits:
        yield from _audit(audit)


def _audit(audit: Audit) -> Iterator[str]:
    name = audit.model["name"]
    if audit.partial:
        yield f"{name}: PARTIAL, {audit.partial}"
    yield f"{name}: {extent(audit)}"
    if audit.seconds:
        yield "  " + _pace(audit)
    for probe in table.PROBES:
        yield from (f"  {line}" for line in probe.lines(audit))
    if audit.skips:
        yield f"  not examined: {len(audit.skips)} ({_reasons(audit)})"
    for note in audit.notes:
        yield f"  note: {note}"
    if audit.baseline:
        yield "  " + beside.headline(audit.baseline)
        yield from (f"    {line}" for line in beside.lines(audit.baseline))
    for verdict in audit.verdicts:
        yield "  " + verdict_line(verdict)
        if verdict.basis:
            yield f"    {verdict.basis}"


def extent(audit: Audit) -> str:
    """``155 PANs among 7,168 neurons (2.16 %) in 18 layers, 160 images, theta 0.5``"""
    share = table.find("pan_fraction").text(audit.measures["pan_fraction"].value)
    return (
        f"{audit.pan_count} PANs among {audit.neuron_count:,} neurons ({share}) in "
        f"{len(audit.sites)} layers, {audit.images['count']} images, theta {audit.settings.theta}"
    )


def _pace(audit: Audit) -> str:
    """``12.3 images/s: load 1.0 s, forward 6.0 s, statistics 6.0 s (cached)``"""
    stages = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in audit.seconds.items())
    return f"{audit.images_per_second:.1f} images/s: {stages}" + " (cached)" * audit.cached


def _reasons(audit: Audit) -> str:
    counts: dict[str, int] = {}
    for skip in audit.skips:
        counts[skip.why] = counts.get(skip.why, 0) + 1
    return ", ".join(f"{count} {why}" for why, count in counts.items())


def verdict_line(verdict: Verdict) -> str:
    """``PASS pan_fraction 2.12 % (max 3.00 %)  marker of ...``"""
    limit = verdict.limit
    text = table.find(limit.measure).text
    return (
        f"{verdict.outcome.upper()} {limit.subject} {text(verdict.value)} "
        f"({limit.direction} {text(limit.bound)})  {limit.origin}"
    )
