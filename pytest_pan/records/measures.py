"""Measures: their declarations, and their values in an audit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Better = Literal["lower", "higher"]
Unit = Literal["fraction", "count", "number"]

Interval = tuple[float, float]

LEAST_IMAGES = 32
"""Fewest images for which intervals are computed: fewer do not show how much values vary. The
trend of a count uses quarters of the images, which then have at least eight."""

LEAST_UNITS = 16
"""Fewest independent units among them, such as photographs of which the images are crops: two in
each group that subsamples consist of."""


def interval_from_json(data: Any) -> Interval | None:
    """Return the interval of a JSON list of two numbers; None for null."""
    return (data[0], data[1]) if data else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Declaration of a measure: its name, unit, better direction, source and meaning."""

    name: str
    unit: Unit
    better: Better
    source: str
    meaning: str
    per_site: str = ""
    """Meaning of its value for a single layer; empty if it has none."""
    per_class: bool = False
    """Whether it has a value for each class, which limits can bound one by one."""
    is_signed: bool = False
    """Whether its value may be negative."""
    is_sampled: bool = True
    """Whether it depends on the sample of images; otherwise it is exact and has no interval."""
    is_image_count: bool = False
    """Whether it is a number of images, and so grows with the size of the sample."""
    uses_labels: bool = False
    """Whether it depends on labels."""
    counts_pans: bool = False
    """Whether a failed limit on it lists the strongest PANs."""
    is_largest_layer: bool = False
    """Whether it is the largest value of any layer."""
    derived_from: str = ""
    """The measure whose random control is the evidence for this one; empty for its own."""
    needs: str = ""
    """Text that says what measuring it requires; empty if it is always measured."""
    least_images: int = LEAST_IMAGES
    """Fewest images for which it has an interval: with fewer, its interval would promise too much
    (docs/method.md)."""
    no_interval: str = ""
    """Why it never has an interval although it depends on the images, and what to limit instead;
    empty if it has one."""
    undefined: str = "no layer was examined"
    """Why its value may be undefined."""
    is_suggested: bool = False
    """Whether a team that starts without limits is shown one for it."""
    is_headline: bool = False
    """Whether a table of several models has a column for it."""

    def text(self, value: float) -> str:
        """Format a value: ``2.16 %`` for a fraction, ``155`` for a count."""
        if not math.isfinite(value):
            return "undefined"
        if self.unit == "fraction":
            return f"{100 * value:.2f} %"
        whole = self.unit == "count" and float(value).is_integer()
        return f"{value:,.0f}" if whole or abs(value) >= 1000 else f"{value:.3g}"


LEAST_CONTROL = 0.8
"""Share of the PANs' number that random draws must have for a comparison with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A value for the PANs, and the same value for several draws of random neurons."""

    value: float
    draws: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    """Ends of the value's 95 % interval over images; None if there is none."""
    drawn: int = 0
    """Random neurons in each draw; 0 in both fields if not known."""
    pans: int = 0
    """PANs that the draws stand beside."""

    @property
    def is_fair(self) -> bool:
        """Whether there are draws, each of nearly as many neurons as there are PANs."""
        return bool(self.draws) and self.drawn >= LEAST_CONTROL * self.pans

    @property
    def excess(self) -> float:
        """The value minus the mean of the draws; NaN if the draws are no fair control."""
        return self.value - sum(self.draws) / len(self.draws) if self.is_fair else float("nan")

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "draws": list(self.draws),
            "low": self.low,
            "high": self.high,
            "excess": self.excess if self.is_fair else None,
            "rank": self.rank if self.is_fair else None,
            "drawn": self.drawn,
            "pans": self.pans,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            value=data["value"],
            draws=tuple(data["draws"]),
            low=data["low"],
            high=data["high"],
            drawn=data.get("drawn", 0),
            pans=data.get("pans", 0),
        )

    @property
    def rank(self) -> int:
        """One plus the number of draws that reach the value."""
        return 1 + sum(draw >= self.value for draw in self.draws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measure's value for the whole model and, if it has them, for each site and class."""

    measure: str
    value: float
    sites: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    """By class name or number, for measures with a value per class."""
    control: Control | None = None
    """The same value for random neurons, for measures of the padding's effect on outputs."""
    bounds: tuple[float, float] | None = None
    """Smallest and largest possible value, if activations were counted in bins; None if exact."""
    site_bounds: Mapping[str, Interval] = field(default_factory=dict)
    """``bounds`` of each site."""
    interval: Interval | None = None
    """95 % interval of the value on very many images of the same kind (docs/method.md)."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """``interval`` of each site or class."""
    support: Mapping[str, float] = field(default_factory=dict)
    """How many images' worth of probability each class has; empty if not known."""
    class_draws: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The values of each class for random neurons, one per draw; empty if not known."""

    def to_json(self) -> dict[str, Any]:
        draws = {name: list(values) for name, values in self.class_draws.items()}
        return {
            "value": self.value,
            "sites": dict(self.sites),
            "classes": dict(self.classes),
            "control": self.control.to_json() if self.control else None,
            "bounds": list(self.bounds) if self.bounds else None,
            "site_bounds": {name: list(ends) for name, ends in self.site_bounds.items()},
            "interval": list(self.interval) if self.interval else None,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            **({"support": dict(self.support)} if self.support else {}),
            **({"class_draws": draws} if draws else {}),
        }

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> Self:
        control = Control.from_json(data["control"]) if data["control"] else None
        parts = {
            key: {part: (low, high) for part, (low, high) in data.get(key, {}).items()}
            for key in ("site_bounds", "intervals")
        }
        values = {
            "control": control,
            "bounds": interval_from_json(data["bounds"]),
            "interval": interval_from_json(data.get("interval")),
            "class_draws": {n: tuple(d) for n, d in data.get("class_draws", {}).items()},
            **parts,
        }
        return cls(**{**data, "measure": name, **values})
