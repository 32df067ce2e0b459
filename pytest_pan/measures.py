"""The vocabulary: every number the audit reports is declared here, once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pytest_pan import relative
from pytest_pan.errors import ConfigError
from pytest_pan.records import Limit

Better = Literal["lower", "higher"]
Unit = Literal["fraction", "count", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A named number: its unit, which direction is better, where it comes from, what it says."""

    name: str
    unit: Unit
    better: Better
    source: str
    meaning: str
    per_site: str = ""
    """What its figure of a single layer says; empty where there is none."""
    probe: str = "pans"
    """The probe that gives it."""
    sampled: bool = True
    """Whether it depends on which images were taken; if not it is exact, and has no interval."""
    of_images: bool = False
    """Whether it is a number of images, which grows with their number."""
    settled_at: int = 0
    """Images from which its interval held as often as it says (docs/method.md)."""

    def text(self, value: float) -> str:
        """The value as people read it: ``2.16 %`` for a fraction, ``155`` for a count."""
        if not math.isfinite(value):
            return "undefined"
        if self.unit == "fraction":
            return f"{100 * value:.2f} %"
        whole = self.unit == "count" and float(value).is_integer()
        return f"{value:,.0f}" if whole or abs(value) >= 1000 else f"{value:.3g}"


_PAN = "Padding Aware Neurons, section 3"
_ODDS = "Padding Aware Neurons, section 4.1"

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
        sampled=False,
    ),
    Measure(
        name="log_odds_shift",
        unit="number",
        better="lower",
        source=_ODDS,
        meaning="The largest |log-odds| of a class when the PANs' padding is swapped: 0.05 is "
        "about 5 %.",
        probe="influence",
        settled_at=160,
    ),
    Measure(
        name="log_odds_excess",
        unit="number",
        better="lower",
        source="this project",
        meaning="By how much log_odds_shift exceeds its mean over random neurons, as many in each "
        "layer.",
        probe="influence",
        settled_at=160,
    ),
    Measure(
        name="classes_shifted",
        unit="count",
        better="lower",
        source=f"{_ODDS} (Table 3)",
        meaning="Classes whose odds change by more than 7 %.",
        probe="influence",
        settled_at=160,
    ),
    Measure(
        name="prediction_flips",
        unit="count",
        better="lower",
        source="Padding Aware Neurons, section 4.2",
        meaning="Predictions that change when the PANs' padding is swapped.",
        probe="influence",
        settled_at=80,
        of_images=True,
    ),
    Measure(
        name="sample_influence",
        unit="number",
        better="lower",
        source="Padding Aware Neurons, section 4.2",
        meaning="99th percentile over images of the L1 distance between the logits.",
        probe="influence",
        settled_at=160,
    ),
    Measure(
        name="accuracy_drop",
        unit="fraction",
        better="lower",
        source="this project",
        meaning="Accuracy less accuracy with the PANs' padding swapped; needs labels.",
        probe="influence",
        settled_at=80,
    ),
    Measure(
        name="pan_floor",
        unit="fraction",
        better="lower",
        source="this project",
        meaning="PANs as a share of the neurons where every padding is swapped: what the method "
        "reports when there is no padding to see.",
        probe="influence",
    ),
    Measure(
        name="nascent_fraction",
        unit="fraction",
        better="lower",
        source="Padding Aware Neurons, section 3.3; the procedure is this project's",
        meaning="PANs that lose a side when only their own layer's padding is swapped.",
        probe="influence",
    ),
    Measure(
        name="downstream_fraction",
        unit="fraction",
        better="lower",
        source="Padding Aware Neurons, section 3.3; the procedure is this project's",
        meaning="PANs that keep a side then and lose it when every earlier layer's is swapped.",
        probe="influence",
    ),
    Measure(
        name="intrusion_flips",
        unit="count",
        better="lower",
        source="Padding Aware Neurons, section 5; the procedure is this project's",
        meaning="Predictions that one row or column of zeros inside the image changes, at the "
        "position that changes most.",
        probe="intrusion",
        of_images=True,
    ),
)

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}

PROBES = tuple(dict.fromkeys(measure.probe for measure in MEASURES))
"""What an audit can look for; ``pans`` always."""

BY_CLASS = ("log_odds_shift",)
"""Measures with a figure for each class, which can be bounded one by one."""

OF_LABELS = ("accuracy_drop",)
"""Measures that labels decide, too."""

_SIGNED = ("accuracy_drop", "log_odds_excess")


def find(name: str, *, where: str = "") -> Measure:
    """The measure of that name; :class:`ConfigError` with the nearest names where there is none."""
    if name in BY_NAME:
        return BY_NAME[name]
    raise ConfigError(
        f"unknown measure {name!r}",
        where=where,
        allowed=", ".join(BY_NAME),
        next=did_you_mean(name, BY_NAME),
    )


def limits(keyword: str, bound: Any, *, origin: str) -> tuple[Limit, ...]:
    """``max_pan_fraction, 0.03`` as limits; ``origin`` says where it was written.

    Bounds of classes are written ``{"tench": 0.05}``, those of layers by globs, the first that
    matches a layer bounding it: ``{"features.1.*": 0.2, "*": 0.05}``; a limit each. A bound may be
    relative to a baseline, ``"baseline+10%"``: it is NaN until one is there. Raises
    :class:`ConfigError` for an unknown keyword and for a bound that no value could meet.
    """
    side, _, name = keyword.partition("_")
    if side not in ("max", "min") or name not in BY_NAME:
        keywords = [f"{s}_{m}" for m in BY_NAME for s in ("max", "min")]
        raise ConfigError(
            f"unknown limit {keyword!r}",
            where=origin,
            got=repr(bound),
            allowed="max_<measure> or min_<measure> with a measure of " + ", ".join(BY_NAME),
            next=did_you_mean(keyword, keywords),
        )
    direction: Literal["max", "min"] = "max" if side == "max" else "min"
    if isinstance(bound, Mapping):
        return _by_part(direction, name, bound, origin)
    whole = Limit(measure=name, direction=direction, bound=math.nan, origin=origin)
    return (_bounded(whole, keyword, bound),)


def _by_part(
    direction: Literal["max", "min"], name: str, table: Mapping[Any, Any], origin: str
) -> tuple[Limit, ...]:
    keyword = f"{direction}_{name}"
    by_layer = [measure.name for measure in MEASURES if measure.per_site]
    if not table or not (name in BY_CLASS or name in by_layer):
        raise ConfigError(
            f"bounds by class or layer of {keyword}",
            where=origin,
            got=repr(dict(table)),
            allowed=f"by class those of {', '.join(BY_CLASS)}, by layer those of "
            + ", ".join(by_layer),
        )
    found: list[Limit] = []
    for part, value in table.items():
        whole = Limit(measure=name, direction=direction, bound=math.nan, origin=origin)
        whole = _bounded(whole, f"{keyword}[{part}]", value)
        if name in BY_CLASS:
            found.append(replace(whole, target=str(part)))
        else:
            before = tuple(limit.layer for limit in found)
            found.append(replace(whole, layer=str(part), besides=before))
    return tuple(found)


def _bounded(limit: Limit, keyword: str, bound: Any) -> Limit:
    """The limit with that bound, a number or one relative to a baseline."""
    amount = relative.parse(bound) if isinstance(bound, str) else None
    if amount is not None:
        if BY_NAME[limit.measure].unit == "fraction" and not amount.is_share and abs(amount) > 1:
            raise ConfigError(
                f"bound of {keyword}",
                where=limit.origin,
                got=repr(bound),
                allowed=f"at most 1 more or less, or so many percent: {relative.ALLOWED}",
                next=f"Did you mean {bound.strip() + '%'!r}?",
            )
        return replace(limit, relative=bound.strip())
    return replace(limit, bound=_number(keyword, bound, limit.measure, limit.origin))


def _number(keyword: str, bound: Any, name: str, origin: str) -> float:
    fraction = BY_NAME[name].unit == "fraction"
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    least = -1.0 if name in _SIGNED else 0.0
    if not number or not math.isfinite(bound) or bound < least or (fraction and bound > 1):
        hint = "Write 3 % as 0.03." if fraction else ""
        raise ConfigError(
            f"bound of {keyword}",
            where=origin,
            got=repr(bound),
            allowed=(f"a fraction from {least:g} to 1" if fraction else f"a number from {least:g}")
            + f", {relative.ALLOWED}",
            next="Quote a name that has dots." if isinstance(bound, Mapping) else hint,
        )
    return float(bound)


def nearest(*places: Iterable[Limit]) -> tuple[Limit, ...]:
    """The limits of several places, the nearest one first: it wins, keyword by keyword, the bound
    of the whole model and the table of its parts each by itself.
    """
    found: dict[tuple[str, str, bool], list[Limit]] = {}
    for place in places:
        here: dict[tuple[str, str, bool], list[Limit]] = {}
        for limit in place:
            here.setdefault(limit.group, []).append(limit)
        for keyword, group in here.items():
            found.setdefault(keyword, group)
    return tuple(limit for group in found.values() for limit in group)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the known words; empty where none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""
