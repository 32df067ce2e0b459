"""Neuron records: sides and PAN types, statistics, histograms."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

BySide = Mapping[str, float]
"""A statistic by side: T, B, L, R."""


class Side(enum.Flag):
    """Borders of the map; a PAN's type is the combination of borders it is aware of."""

    T = 1
    B = 2
    L = 4
    R = 8

    def __str__(self) -> str:
        return _LETTERS[self.value]

    @classmethod
    def parse(cls, letters: str) -> Side:
        """Return ``Side.T | Side.L`` for ``"TL"``; raise KeyError for an unknown letter."""
        sides = cls(0)
        for letter in letters:
            sides |= cls[letter]
        return sides


SIDES = "TBLR"
_LETTERS = ["".join(s for i, s in enumerate(SIDES) if value >> i & 1) for value in range(16)]
"""The letters of each ``Side`` value, precomputed: reports need tens of thousands."""
NO_SIDE = Side(0)
PAN_TYPES: tuple[str, ...] = (
    *("T", "B", "L", "R", "TB", "TL", "TR", "BL", "BR", "LR"),
    *("TBL", "TBR", "TLR", "BLR", "TBLR"),
)
"""The fifteen types in the order of the paper's Table 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of a neuron's activations in equal bins from ``low`` to ``high``, by region.

    Regions: ``T B L R`` (borders), ``centre``, ``centre_high`` and ``centre_low`` (the highest and
    lowest values of the centre, as many as the longest border has).
    """

    low: float
    high: float
    counts: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        counts = {region: list(c) for region, c in self.counts.items()}
        return {"low": self.low, "high": self.high, "counts": counts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        counts = {region: tuple(c) for region, c in data["counts"].items()}
        return cls(low=data["low"], high=data["high"], counts=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neuron:
    """A padding aware neuron (PAN): one output channel of a site, with its statistics by side."""

    site: str
    channel: int
    type: Side
    edges: Side
    """Sides on which the neuron is an edge detector; includes those of ``type``."""
    ks: BySide
    ks_plus: BySide
    ks_minus: BySide
    nascent: Side = NO_SIDE
    """Sides of the type that disappear when only the layer's own padding is swapped."""
    downstream: Side = NO_SIDE
    """Sides that remain then, and disappear when every earlier layer's padding is swapped."""
    error: float = 0.0
    """Largest error bound of its statistics; 0 if they are exact."""
    undecided: Side = NO_SIDE
    """Sides on which the error bounds do not decide whether it is a PAN."""
    stability: float | None = None
    """Fraction of random halves of the images in which it is also a PAN; None if not examined."""
    profile: Mapping[str, tuple[tuple[float, float, float], ...]] = field(default_factory=dict)
    """(ks, ks_plus, ks_minus) by side, for the lines at distance 0, 1, 2, ... from the border."""
    histogram: Histogram | None = None

    @property
    def strength(self) -> float:
        """Largest one-sided statistic on a side of its type; 1 means no overlap with the centre."""
        return max(max(self.ks_plus[s], self.ks_minus[s]) for s in str(self.type))

    def to_json(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "channel": self.channel,
            "type": str(self.type),
            "edges": str(self.edges),
            "nascent": str(self.nascent),
            "downstream": str(self.downstream),
            "error": self.error,
            "undecided": str(self.undecided),
            "stability": self.stability,
            "ks": dict(self.ks),
            "ks_plus": dict(self.ks_plus),
            "ks_minus": dict(self.ks_minus),
            "profile": {side: [list(p) for p in rings] for side, rings in self.profile.items()},
            "histogram": self.histogram.to_json() if self.histogram else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        histogram = data["histogram"]
        rings = {s: tuple((a, b, c) for a, b, c in p) for s, p in data["profile"].items()}
        return cls(
            **{
                **data,
                "type": Side.parse(data["type"]),
                "edges": Side.parse(data["edges"]),
                "nascent": Side.parse(data["nascent"]),
                "downstream": Side.parse(data["downstream"]),
                "undecided": Side.parse(data["undecided"]),
                "profile": rings,
                "histogram": Histogram.from_json(histogram) if histogram else None,
            }
        )
