"""Measures: what a number is called and means, and its values in an audit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Better = Literal["lower", "higher"]
Unit = Literal["fraction", "count", "number"]

Interval = tuple[float, float]

LEAST_IMAGES = 32
"""Images from which there are intervals: fewer do not tell how much they vary. A quarter of them,
which the trend of a count needs, is eight images then."""


def ends_of(data: Any) -> Interval | None:
    """An interval as JSON has it: two numbers, or nothing."""
    return (data[0], data[1]) if data else None


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
    per_class: bool = False
    """Whether it has a figure for each class, which can be bounded one by one."""
    is_signed: bool = False
    """Whether its value may be negative."""
    is_sampled: bool = True
    """Whether it depends on which images were taken; if not it is exact, and has no interval."""
    is_image_count: bool = False
    """Whether it is a number of images, which grows with their number."""
    uses_labels: bool = False
    """Whether labels decide it, too."""
    counts_pans: bool = False
    """Whether the strongest PANs are evidence for it."""
    is_largest_layer: bool = False
    """Whether it is the figure of the layer where that is largest."""
    derived_from: str = ""
    """The measure whose random control is evidence for this one; empty for its own."""
    needs: str = ""
    """What has to be there for it to be measured, for people; empty where that is always."""
    settled_at: int = 0
    """Images from which its interval held as often as it says (docs/method.md)."""
    is_headline: bool = False
    """Whether a table of several models has a column for it."""

    def text(self, value: float) -> str:
        """The value as people read it: ``2.16 %`` for a fraction, ``155`` for a count."""
        if not math.isfinite(value):
            return "undefined"
        if self.unit == "fraction":
            return f"{100 * value:.2f} %"
        whole = self.unit == "count" and float(value).is_integer()
        return f"{value:,.0f}" if whole or abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A figure of the PANs beside the same figure of random neurons, several draws of them."""

    value: float
    draws: tuple[float, ...]
    low: float | None = None
    high: float | None = None
    """95 % interval over images of the value, where there is one."""

    @property
    def excess(self) -> float:
        """Value less the mean of the draws."""
        return self.value - sum(self.draws) / len(self.draws) if self.draws else float("nan")

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "draws": list(self.draws),
            "low": self.low,
            "high": self.high,
            "excess": self.excess if self.draws else None,
            "rank": self.rank,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        draws = tuple(data["draws"])
        return cls(value=data["value"], draws=draws, low=data["low"], high=data["high"])

    @property
    def rank(self) -> int:
        """1 if no draw reaches the value, else one more than the draws that do."""
        return 1 + sum(draw >= self.value for draw in self.draws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The value of a measure for the whole model and, where it has one, for each site."""

    measure: str
    value: float
    sites: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    """By class name (or number), for measures of classes."""
    control: Control | None = None
    """The same figure of random neurons, for measures of what the padding does to outputs."""
    bounds: tuple[float, float] | None = None
    """Least and most that it can be, where samples were counted between edges; else exact."""
    site_bounds: Mapping[str, Interval] = field(default_factory=dict)
    """The same of the sites."""
    interval: Interval | None = None
    """95 %, for the figure that very many images of the same kind would give (docs/method.md)."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """The same of the sites or the classes that have figures of their own."""

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "sites": dict(self.sites),
            "classes": dict(self.classes),
            "control": self.control.to_json() if self.control else None,
            "bounds": list(self.bounds) if self.bounds else None,
            "site_bounds": {name: list(ends) for name, ends in self.site_bounds.items()},
            "interval": list(self.interval) if self.interval else None,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
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
            "bounds": ends_of(data["bounds"]),
            "interval": ends_of(data.get("interval")),
            **parts,
        }
        return cls(**{**data, "measure": name, **values})
