"""Terminal report: the audits as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_pan.probes import advice, table
from pytest_pan.records import summary, text
from pytest_pan.records.audit import Audit
from pytest_pan.records.limits import Verdict
from pytest_pan.report import baseline
from pytest_pan.verdicts.judge import bound_text


def lines(audits: Sequence[Audit]) -> Iterator[str]:
    """Yield the lines of all audits, safe to print."""
    for audit in audits:
        yield from map(text.line, _audit(audit))


def _audit(audit: Audit) -> Iterator[str]:
    name = audit.model["name"]
    if audit.partial:
        yield f"{name}: PARTIAL, {audit.partial}"
    yield f"{name}: {extent(audit)}"
    if images := summary.images(audit):
        yield f"  {images}"
    if audit.seconds:
        yield "  " + _pace(audit)
    for probe in table.PROBES:
        yield from (f"  {line}" for line in probe.lines(audit))
    if audit.skips:
        yield f"  not examined: {len(audit.skips)} ({_reasons(audit)})"
    for note in audit.notes:
        yield f"  note: {note}"
    if audit.baseline:
        yield "  " + baseline.headline(audit.baseline)
        yield from (f"    {line}" for line in baseline.lines(audit.baseline))
    for verdict in audit.verdicts:
        yield "  " + verdict_line(verdict)
        if verdict.basis:
            yield f"    {verdict.basis}"
    for line in advice.lines(audit):
        yield f"  advice {line}"


def extent(audit: Audit) -> str:
    """Return ``155 PANs among 7,168 neurons (2.16 %) in 18 layers, 160 images, theta 0.5``."""
    return f"{summary.extent(audit)}, theta {audit.settings.theta}"


def _pace(audit: Audit) -> str:
    """Return ``12.3 images/s: load 1.0 s, forward 6.0 s, statistics 6.0 s (cached)``."""
    stages = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in audit.seconds.items())
    return f"{audit.images_per_second:.1f} images/s: {stages}" + " (cached)" * audit.cached


def _reasons(audit: Audit) -> str:
    counts: dict[str, int] = {}
    for skip in audit.skips:
        counts[skip.why] = counts.get(skip.why, 0) + 1
    return ", ".join(f"{count} {why}" for why, count in counts.items())


def verdict_line(verdict: Verdict) -> str:
    """Return ``PASS pan_fraction 2.12 % (max 3.00 %)  marker of ...``."""
    limit = verdict.limit
    value = table.find(limit.measure).text(verdict.value)
    return (
        f"{verdict.outcome.upper()} {limit.subject} {value} "
        f"({limit.direction} {bound_text(limit)})  {limit.origin}"
    )
