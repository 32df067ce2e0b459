"""The vocabulary: every number the audit reports is declared here, once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_pan.errors import ConfigError
from pytest_pan.records import Limit

Better = Literal["lower", "higher"]
Unit = Literal["fraction", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A named number: its unit, which direction is better, where it comes from, what it says."""

    name: str
    unit: Unit
    better: Better
    source: str
    meaning: str
    per_site: str

    def text(self, value: float) -> str:
        """The value as people read it: ``2.16 %`` for a fraction, ``155`` for a count."""
        if not math.isfinite(value):
            return "undefined"
        if self.unit == "fraction":
            return f"{100 * value:.2f} %"
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


_PAN = "Padding Aware Neurons, section 3"

MEASURES: tuple[Measure, ...] = (
    Measure(
        name="pan_fraction",
        unit="fraction",
        better="lower",
        source=_PAN,
        meaning="Padding aware neurons as a share of the neurons examined.",
        per_site="the same share within the layer",
    ),
    Measure(
        name="pan_count",
        unit="count",
        better="lower",
        source=_PAN,
        meaning="Number of padding aware neurons.",
        per_site="their number in the layer",
    ),
    Measure(
        name="layer_pan_fraction",
        unit="fraction",
        better="lower",
        source=f"{_PAN} (Table 1)",
        meaning="The largest share of padding aware neurons that any one layer has.",
        per_site="the share within the layer",
    ),
    Measure(
        name="edge_detector_count",
        unit="count",
        better="lower",
        source=_PAN,
        meaning="Neurons whose border activations differ from the centre's on at least one side; "
        "padding aware neurons are some of them.",
        per_site="their number in the layer",
    ),
    Measure(
        name="uneven_layers",
        unit="count",
        better="lower",
        source="Mind the Pad, uneven application of padding",
        meaning="Examined layers that consume less of the padding they have on one side than on "
        "the opposite one, or that are padded unequally to begin with.",
        per_site="1 where the layer is uneven, else 0",
    ),
)

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


def find(name: str, *, where: str = "") -> Measure:
    """The measure of that name; :class:`ConfigError` with the nearest names where there is none."""
    if name in BY_NAME:
        return BY_NAME[name]
    raise ConfigError(
        f"unknown measure {name!r}",
        where=where,
        allowed=", ".join(BY_NAME),
        next=_nearest(name, list(BY_NAME)),
    )


def limit(keyword: str, bound: Any, *, origin: str) -> Limit:
    """``max_pan_fraction, 0.03`` as a :class:`Limit`; ``origin`` says where it was written.

    Raises :class:`ConfigError` for an unknown keyword and for a bound that no value could meet.
    """
    side, _, name = keyword.partition("_")
    if side not in ("max", "min") or name not in BY_NAME:
        keywords = [f"{s}_{m}" for m in BY_NAME for s in ("max", "min")]
        raise ConfigError(
            f"unknown limit {keyword!r}",
            where=origin,
            allowed="max_<measure> or min_<measure> with a measure of " + ", ".join(BY_NAME),
            next=_nearest(keyword, keywords),
        )
    fraction = BY_NAME[name].unit == "fraction"
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    if not number or not math.isfinite(bound) or bound < 0 or (fraction and bound > 1):
        raise ConfigError(
            f"bound of {keyword}",
            where=origin,
            got=repr(bound),
            allowed="a fraction from 0 to 1" if fraction else "a number from 0",
            next="Write 3 % as 0.03." if fraction else "",
        )
    direction: Literal["max", "min"] = "max" if side == "max" else "min"
    return Limit(measure=name, direction=direction, bound=float(bound), origin=origin)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""
