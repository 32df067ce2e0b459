"""Comparison of two reports, as lines for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.probes import table as measures
from pytest_pan.records import text
from pytest_pan.records.changes import MeasureChange
from pytest_pan.report import tables
from pytest_pan.report.reading import Report
from pytest_pan.verdicts.comparison import Comparison, Pair

_NONE = "-"
_WORDS = {"lost": "LOST", "worse": "WORSE", "unknown": "not known to this version"}
_HEADS = ("measure", "before", "after", "difference", "")


def lines(found: Comparison, before: Report, after: Report) -> Iterator[str]:
    """Yield incomplete parts, a table per model, then the models that only one report has."""
    for report in (before, after):
        if report.partial:
            yield _line(f"PARTIAL, {report.path}: {report.partial}")
    for pair in found.pairs:
        yield from _pair(pair, before, after)
    for models, report in ((found.only_before, before), (found.only_after, after)):
        for name in models:
            yield _line(f"{name}: only in {report.path}")
    counts = {c: found.count(c) for c in ("worse", "lost", "better", "new", "same", "unknown")}
    yield "measures: " + ", ".join(f"{n} {c}" for c, n in counts.items() if n or c == "worse")


def _pair(pair: Pair, before: Report, after: Report) -> Iterator[str]:
    yield _line(f"{pair.name}: {before.path} -> {after.path}")
    for why, report in zip(pair.partial, (before, after), strict=True):
        if why:
            yield tables.INDENT + _line(f"PARTIAL, {report.path}: {why}")
    for difference in pair.differences:
        yield tables.INDENT + _line(f"differs in {difference}")
    rows = [_row(row) for row in pair.rows]
    yield from tables.lines(_HEADS, rows, right=_HEADS[1:4])


def _line(words: str) -> str:
    return text.line(tables.printable(words))


def _row(row: MeasureChange) -> tuple[str, ...]:
    word = _WORDS.get(row.change, row.change)
    return row.measure, *figures(row), word + " (within the 95 % interval)" * row.is_noise


def figures(row: MeasureChange) -> tuple[str, str, str]:
    """Format the values before and after, and their difference."""
    before, after = (
        "undefined" if value is None else measures.text(row.measure, value)
        for value in (row.before, row.after)
    )
    difference = _NONE
    if row.before is not None and row.after is not None:
        difference = _difference(row.measure, row.after - row.before)
    return before, after, difference


def _difference(name: str, change: float) -> str:
    """Format a difference: ``+0.84 pp`` (percentage points) for a fraction, ``+3`` for a count."""
    if not change:
        return "0"
    known = measures.by_name()
    if name in known and known[name].unit == "fraction":
        return f"{100 * change:+.3g} pp"
    return f"{change:+,.0f}" if abs(change) >= 1000 else f"{change:+.3g}"


def names(report: Report) -> str:
    """Return the names of the models of a report."""
    return ", ".join(body["model"]["name"] for body in report.bodies) or "no audits"
