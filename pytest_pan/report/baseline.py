"""An audit beside its baseline, as lines: the same in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.config.options import UPDATE
from pytest_pan.records.changes import Compared, Row
from pytest_pan.report.differences import figures

LAYERS = 5
"""Layers named."""

_UPDATE = f"pytest --pan-audit {UPDATE}"


def headline(found: Compared) -> str:
    """``baseline pan-baselines/net.json: 1 worse, 2 better, 5 same``"""
    if found.missing:
        said = found.missing
    else:
        counts = {c: found.count(c) for c in ("worse", "lost", "better", "new", "unknown", "same")}
        said = ", ".join(f"{number} {change}" for change, number in counts.items() if number)
    written = f"; {found.written}" if found.written else ""
    return f"baseline {found.file}: {said}{written}"


def lines(found: Compared) -> Iterator[str]:
    """What is not the same, what may be the reason, and what to do; nothing if all is the same."""
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
        yield f"the same figures although others are: {'; '.join(found.differences)}"
    if advice := next_step(found):
        yield advice


def next_step(found: Compared) -> str:
    """What a user may do now; empty where nothing is to be done."""
    if found.written:
        return ""
    if found.missing:
        return f"{_UPDATE} writes it" if found.missing == "no baseline yet" else ""
    return f"better than the baseline: {_UPDATE} records it" if found.is_improvement else ""


def arrow(row: Row) -> str:
    """``2.16 % -> 2.05 % (-0.112 pp)``"""
    before, after, difference = figures(row)
    return f"{before} -> {after}" + (f" ({difference})" if difference != "-" else "")
