"""Limits from what users write: ``max_pan_fraction=0.03``, by class, by layer, by baseline."""

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

_FORM = re.compile(r"baseline(?: *([+-]) *(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12}) *(%?))?")


@dataclass(frozen=True, slots=True)
class RelativeBound:
    """A bound given as a difference from the baseline's figure."""

    amount: Decimal
    is_share: bool
    """Whether ``amount`` is in percent of that figure; else it is in the measure's unit."""

    def __abs__(self) -> Decimal:
        return abs(self.amount)

    def of(self, figure: float) -> float:
        """Return the bound; decimal arithmetic, so that 0.7 + 0.1 is exactly 0.8."""
        base = Decimal(repr(figure))
        return float(base + (abs(base) * self.amount / 100 if self.is_share else self.amount))


def parse_relative(text: str) -> RelativeBound | None:
    """Parse the text; None if it is not a bound of that form."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    sign, amount, percent = found.groups()
    return RelativeBound(Decimal(f"{sign or ''}{amount or 0}"), bool(percent))


def limits(keyword: str, bound: Any, *, origin: str) -> tuple[Limit, ...]:
    """Parse one limit, such as ``max_pan_fraction, 0.03``; ``origin`` says where it was written.

    A bound for single classes is a table, ``{"tench": 0.05}``; so is one for layers, by glob:
    ``{"features.1.*": 0.2, "*": 0.05}``. The first glob that matches a layer bounds it. Each row of
    a table becomes one limit. The value of a bound relative to a baseline, ``"baseline+10%"``, is
    NaN until the baseline has been read. Raises :class:`ConfigError` for an unknown keyword and for
    a bound that no value can meet.
    """
    side, _, name = keyword.partition("_")
    known = table.by_name()
    if side not in ("max", "min") or name not in known:
        keywords = [f"{s}_{m}" for m in known for s in ("max", "min")]
        raise ConfigError(
            f"unknown limit {keyword!r}",
            where=origin,
            got=repr(bound),
            allowed="max_<measure> or min_<measure> with a measure of " + ", ".join(known),
            next=did_you_mean(keyword, keywords),
        )
    direction: Literal["max", "min"] = "max" if side == "max" else "min"
    measure = known[name]
    if isinstance(bound, Mapping):
        return _by_part(direction, measure, bound, origin)
    whole = Limit(measure=name, direction=direction, bound=math.nan, origin=origin)
    return (_bounded(whole, measure, keyword, bound),)


def _by_part(
    direction: Literal["max", "min"], measure: Measure, bounds: Mapping[Any, Any], origin: str
) -> tuple[Limit, ...]:
    keyword = f"{direction}_{measure.name}"
    if not bounds or not (measure.per_class or measure.per_site):
        by_class = ", ".join(each.name for each in table.measures() if each.per_class)
        by_layer = ", ".join(each.name for each in table.measures() if each.per_site)
        raise ConfigError(
            f"bounds by class or layer of {keyword}",
            where=origin,
            got=repr(dict(bounds)),
            allowed=f"by class those of {by_class}, by layer those of {by_layer}",
        )
    found: list[Limit] = []
    for part, value in bounds.items():
        whole = Limit(measure=measure.name, direction=direction, bound=math.nan, origin=origin)
        whole = _bounded(whole, measure, f"{keyword}[{part}]", value)
        if measure.per_class:
            found.append(replace(whole, target=str(part)))
        else:
            before = tuple(limit.layer for limit in found)
            found.append(replace(whole, layer=str(part), earlier=before))
    return tuple(found)


def _bounded(limit: Limit, measure: Measure, keyword: str, bound: Any) -> Limit:
    """Return the limit with its bound: a number, or one relative to a baseline."""
    amount = parse_relative(bound) if isinstance(bound, str) else None
    if amount is not None:
        if measure.unit == "fraction" and not amount.is_share and abs(amount) > 1:
            raise ConfigError(
                f"bound of {keyword}",
                where=limit.origin,
                got=repr(bound),
                allowed=f"at most 1 more or less, or so many percent: {RELATIVE_BOUNDS}",
                next=f"Did you mean {bound.strip() + '%'!r}?",
            )
        return replace(limit, relative=bound.strip())
    return replace(limit, bound=_number(keyword, bound, measure, limit.origin))


def _number(keyword: str, bound: Any, measure: Measure, origin: str) -> float:
    is_fraction = measure.unit == "fraction"
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    least = -1.0 if measure.is_signed else 0.0
    if not number or not _is_finite(bound) or bound < least or (is_fraction and bound > 1):
        hint = "Write 3 % as 0.03." if is_fraction else ""
        raise ConfigError(
            f"bound of {keyword}",
            where=origin,
            got=shortened(bound),
            allowed=(
                f"a fraction from {least:g} to 1" if is_fraction else f"a number from {least:g}"
            )
            + f", {RELATIVE_BOUNDS}",
            next="Quote a name that has dots." if isinstance(bound, Mapping) else hint,
        )
    return float(bound)


def _is_finite(number: float) -> bool:
    """Whether the number is one that a float can hold; Python's integers have no largest."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def nearest(*places: Iterable[Limit]) -> tuple[Limit, ...]:
    """Merge the limits of several places, the nearest place first.

    Of each keyword the nearest place wins; the bound of the whole model and the table of its parts
    are replaced independently of each other.
    """
    found: dict[tuple[str, str, bool], list[Limit]] = {}
    for place in places:
        here: dict[tuple[str, str, bool], list[Limit]] = {}
        for limit in place:
            here.setdefault(limit.group, []).append(limit)
        for keyword, group in here.items():
            found.setdefault(keyword, group)
    return tuple(limit for group in found.values() for limit in group)
