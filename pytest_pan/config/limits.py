"""Parse limits: ``max_pan_fraction=0.03``, by class, by layer, relative to a baseline."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from pytest_pan.probes import table
from pytest_pan.records.errors import ConfigError, did_you_mean, shortened
from pytest_pan.records.limits import Limit
from pytest_pan.records.measures import Measure

RELATIVE_BOUNDS = "'baseline', 'baseline+10%', 'baseline-0.01'"

_RELATIVE = re.compile(r"baseline(?: *([+-]) *(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12}) *(%?))?")


@dataclass(frozen=True, slots=True)
class RelativeBound:
    """A bound given as an offset from the baseline's value."""

    offset: Decimal
    is_percent: bool
    """Whether ``offset`` is in percent of that value; else it is in the measure's unit."""

    def bound_for(self, value: float) -> float:
        """Return the bound for a baseline value, in decimals so that 0.7 + 0.1 is exactly 0.8."""
        base = Decimal(repr(value))
        return float(base + (abs(base) * self.offset / 100 if self.is_percent else self.offset))


def parse_relative(text: str) -> RelativeBound | None:
    """Parse a bound such as ``baseline+10%``; None if the text does not have this form."""
    found = _RELATIVE.fullmatch(text.strip())
    if found is None:
        return None
    sign, amount, percent = found.groups()
    return RelativeBound(Decimal(f"{sign or ''}{amount or 0}"), bool(percent))


def limits(keyword: str, bound: Any, *, origin: str) -> tuple[Limit, ...]:
    """Parse one limit, such as ``max_pan_fraction, 0.03``, set at ``origin``.

    Bounds of single classes are a table, ``{"tench": 0.05}``; so are bounds of layers, by glob:
    ``{"features.1.*": 0.2, "*": 0.05}``, of which the first glob that matches a layer applies. Each
    row of a table becomes one limit. The value of a bound relative to a baseline,
    ``"baseline+10%"``, is NaN until :func:`baseline_limits.resolve`. Raises :class:`ConfigError`
    for an unknown keyword and for a bound outside the measure's range.
    """
    side, _, name = keyword.partition("_")
    known = table.by_name()
    if side not in ("max", "min") or name not in known:
        keywords = [f"{s}_{m}" for m in known for s in ("max", "min")]
        raise ConfigError(
            f"unknown limit {keyword!r}",
            where=origin,
            got=shortened(bound),
            allowed="max_<measure> or min_<measure> with a measure of " + ", ".join(known),
            next=did_you_mean(keyword, keywords),
        )
    direction: Literal["max", "min"] = "max" if side == "max" else "min"
    measure = known[name]
    if isinstance(bound, Mapping):
        return _limits_by_part(direction, measure, bound, origin)
    limit = Limit(measure=name, direction=direction, bound=math.nan, origin=origin)
    return (_with_bound(limit, measure, keyword, bound),)


def _limits_by_part(
    direction: Literal["max", "min"], measure: Measure, bounds: Mapping[Any, Any], origin: str
) -> tuple[Limit, ...]:
    keyword = f"{direction}_{measure.name}"
    if not bounds or not (measure.per_class or measure.per_site):
        by_class = ", ".join(each.name for each in table.measures() if each.per_class)
        by_layer = ", ".join(each.name for each in table.measures() if each.per_site)
        raise ConfigError(
            f"bounds by class or layer of {keyword}",
            where=origin,
            got=shortened(dict(bounds)),
            allowed=f"a table, by class for {by_class}, by layer for {by_layer}",
        )
    found: list[Limit] = []
    for key, value in bounds.items():
        part = key if isinstance(key, str) else shortened(key)
        limit = Limit(measure=measure.name, direction=direction, bound=math.nan, origin=origin)
        limit = _with_bound(limit, measure, f"{keyword}[{part}]", value)
        if measure.per_class:
            found.append(replace(limit, target=part))
        else:
            earlier = tuple(other.layer for other in found)
            found.append(replace(limit, layer=part, earlier=earlier))
    return tuple(found)


def _with_bound(limit: Limit, measure: Measure, keyword: str, bound: Any) -> Limit:
    """Return the limit with its bound: a number, or one relative to a baseline."""
    relative = parse_relative(bound) if isinstance(bound, str) else None
    if relative is not None:
        if measure.unit == "fraction" and not relative.is_percent and abs(relative.offset) > 1:
            raise ConfigError(
                f"bound of {keyword}",
                where=limit.origin,
                got=shortened(bound),
                allowed=f"an offset from -1 to 1, or in percent: {RELATIVE_BOUNDS}",
                next=f"Did you mean {bound.strip() + '%'!r}?",
            )
        return replace(limit, relative=bound.strip())
    return replace(limit, bound=_number(keyword, bound, measure, limit.origin))


def _number(keyword: str, bound: Any, measure: Measure, origin: str) -> float:
    is_fraction = measure.unit == "fraction"
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    least = 0.0
    if measure.is_signed:
        least = -1.0 if is_fraction else -math.inf
    if not number or not _is_finite(bound) or bound < least or (is_fraction and bound > 1):
        hint = "Write 3 % as 0.03." if is_fraction else ""
        raise ConfigError(
            f"bound of {keyword}",
            where=origin,
            got=shortened(bound),
            allowed=(
                f"a fraction from {least:g} to 1"
                if is_fraction
                else "a number"
                if measure.is_signed
                else "a number from 0"
            )
            + f", {RELATIVE_BOUNDS}",
            next="Quote names that contain dots." if isinstance(bound, Mapping) else hint,
        )
    return float(bound)


def _is_finite(number: float) -> bool:
    """Return whether a number is finite and within float range; Python's integers may exceed it."""
    try:
        return math.isfinite(number)
    except Exception:  # also of a number class of the user's that does not convert
        return False


def override(*sources: Iterable[Limit]) -> tuple[Limit, ...]:
    """Merge limits of several sources, highest precedence first.

    A source's limit replaces that of later sources. A bound of the whole model does not replace a
    table of bounds, and vice versa.
    """
    merged: dict[tuple[str, str, bool], list[Limit]] = {}
    for source in sources:
        groups: dict[tuple[str, str, bool], list[Limit]] = {}
        for limit in source:
            groups.setdefault(limit.group, []).append(limit)
        for key, group in groups.items():
            merged.setdefault(key, group)
    return tuple(limit for group in merged.values() for limit in group)
