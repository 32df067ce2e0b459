"""View of the classes whose odds a swap changes: the two sides of the paper's Table 3."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_pan.probes.influence.records import SHIFTED, Influence, class_label
from pytest_pan.probes.influence.samples import class_name
from pytest_pan.records.audit import Audit

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

ROWS = 30
"""Maximum number of rows per side of the table."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Class whose odds change beyond the threshold."""

    name: str
    odds: str
    interval: str


@dataclass(frozen=True, slots=True)
class Classes:
    """One side of Table 3; ``left_out`` is the number of shifted classes that are not shown."""

    caption: str
    rows: tuple[ClassRow, ...]
    left_out: int


def signed(value: float) -> str:
    """Format log-odds with a sign and three decimals."""
    return f"{value:+.3f}".replace("-", MINUS) if math.isfinite(value) else _non_finite(value)


def odds(log_odds: float) -> str:
    """Format the odds that correspond to log-odds."""
    if not math.isfinite(log_odds):
        return "0" if log_odds < 0 else _non_finite(log_odds)
    return f"{math.exp(log_odds):.3f}" if log_odds < 9 else f"{math.exp(min(log_odds, 700)):.3g}"


def _non_finite(value: float) -> str:
    return "undefined" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"


def supported(audit: Audit, count: int) -> list[int]:
    """Return the classes with enough support; all of so many if no support is known."""
    shift = audit.measures.get("log_odds_shift")
    mass = {} if shift is None else shift.support
    least = audit.settings.support
    return [c for c in range(count) if mass.get(class_label(audit.classes, c), math.inf) >= least]


def shifted(audit: Audit, influence: Influence) -> list[int]:
    """Return the supported classes whose absolute log-odds exceed the threshold."""
    ratios = influence.log_odds
    return [c for c in supported(audit, len(ratios)) if abs(ratios[c]) > SHIFTED]


def classes(audit: Audit, influence: Influence) -> tuple[Classes, ...]:
    """Build both sides of the table: supported classes with odds below 1, and above 1."""
    ratios = influence.log_odds
    found = sorted(shifted(audit, influence), key=lambda c: ratios[c])
    sides = (
        (
            "Odds below 1: the padding is evidence for the class",
            [c for c in found if ratios[c] < 0],
        ),
        (
            "Odds above 1: the padding is evidence against the class",
            [c for c in reversed(found) if ratios[c] > 0],
        ),
    )
    return tuple(
        Classes(
            caption=caption,
            rows=tuple(_class_row(audit, influence, c) for c in side[:ROWS]),
            left_out=max(len(side) - ROWS, 0),
        )
        for caption, side in sides
    )


def _class_row(audit: Audit, influence: Influence, index: int) -> ClassRow:
    ends = [e[index] for e in (influence.log_odds_low, influence.log_odds_high) if len(e) > index]
    interval = f"{odds(ends[0])} to {odds(ends[1])}" if len(ends) == 2 else DASH
    return ClassRow(class_name(audit, index), odds(influence.log_odds[index]), interval)
