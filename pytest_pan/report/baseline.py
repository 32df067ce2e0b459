"""Comparison of an audit to its baseline, as lines for all text reports."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.config.options import update_command
from pytest_pan.records.changes import BaselineComparison, MeasureChange
from pytest_pan.report.differences import figures

LAYERS = 5
"""Maximum number of layers listed."""


def headline(found: BaselineComparison) -> str:
    """Return ``baseline pan-baselines/net.json: 1 worse, 2 better, 5 same``."""
    if found.missing:
        text = found.missing
    else:
        counts = {c: found.count(c) for c in ("worse", "lost", "better", "new", "unknown", "same")}
        text = ", ".join(f"{number} {change}" for change, number in counts.items() if number)
    written = f"; {found.written}" if found.written else ""
    return f"baseline {found.file}: {text}{written}"


def lines(found: BaselineComparison) -> Iterator[str]:
    """Yield what changed, possible reasons and the next step; nothing if all is the same."""
    for row in sorted(found.rows, key=lambda row: row.change != "worse"):
        if row.change != "same":
            yield f"{row.change} {row.measure} {arrow(row)}"
    if found.layers:
        named = ", ".join(f"{row.layer} {arrow(row)}" for row in found.layers[:LAYERS])
        more = f" and {len(found.layers) - LAYERS} more" if found.layers[LAYERS:] else ""
        yield f"PANs by layer: {named}{more}"
    if found.has_changed:
        for reason in found.reasons:
            yield f"changed since: {reason}"
    elif found.differences:
        yield f"figures unchanged, although these differ: {'; '.join(found.differences)}"
    if advice := next_step(found):
        yield advice


def next_step(found: BaselineComparison) -> str:
    """Return advice on what to do next; empty if there is nothing to do."""
    if found.written:
        return ""
    command = update_command(found.file.rpartition("/")[0] or "/")
    if found.missing:
        return f"{command} writes it" if found.missing == "no baseline yet" else ""
    return f"better than the baseline: {command} records it" if found.is_improvement else ""


def arrow(row: MeasureChange) -> str:
    """Return ``2.16 % -> 2.05 % (-0.112 pp)``."""
    before, after, difference = figures(row)
    return f"{before} -> {after}" + (f" ({difference})" if difference != "-" else "")
