"""Limits to start from: just above what an audit measured, by its confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit

PROBES = tuple(
    probe.name for probe in table.PROBES if any(each.is_suggested for each in probe.measures)
)
"""Probes whose measures have suggested limits."""


def suggested(audit: Audit) -> dict[str, str]:
    """Return a bound, as text, by keyword such as ``max_pan_fraction``.

    It is the end of the measure's 95 % interval, rounded outwards to two digits: the same audit
    passes. There is none for a measure without an interval or one that may be anything, and none
    for a partial audit.
    """
    found: dict[str, str] = {}
    if audit.partial:
        return found
    for measure in table.measures():
        measured = audit.measures.get(measure.name)
        if not measure.is_suggested or measured is None or measured.interval is None:
            continue
        low, high = measured.interval
        is_maximum = measure.better == "lower"
        end = high if is_maximum else low
        bounds_nothing = measure.unit == "fraction" and is_maximum and end >= 1
        if math.isfinite(end) and not bounds_nothing:
            found[f"{'max' if is_maximum else 'min'}_{measure.name}"] = _rounded(end, is_maximum)
    return found


def lines(audit: Audit) -> Iterator[str]:
    """Yield a marker and a TOML table with the suggested limits, or why there are none."""
    bounds, name = suggested(audit), audit.model["name"]
    if not bounds:
        why = "the audit is partial" if audit.partial else "no interval, or one that ends at 100 %"
        yield f"{name}: no limits to start from: {why}"
        return
    arguments = ", ".join(f"{limit}={bound}" for limit, bound in bounds.items())
    yield f"{name}: limits to start from, the ends of the 95 % intervals; for a test:"
    yield f"  @pytest.mark.pan({arguments})"
    yield "or for all audits, in pyproject.toml:"
    yield "  [tool.pan.limits]"
    yield from (f"  {limit} = {bound}" for limit, bound in bounds.items())


def _rounded(value: float, up: bool) -> str:
    """Return a number of two significant digits, not below the value (``up``) or not above it."""
    exact = Decimal(repr(value))
    if not exact:
        return "0.0"
    unit = Decimal(1).scaleb(exact.adjusted() - 1)
    rounded = exact.quantize(unit, ROUND_CEILING if up else ROUND_FLOOR)
    return str(float(rounded))
