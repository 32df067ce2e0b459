"""Records of the probe ``blind_spots``: scores by the place of the object. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from pytest_pan.records.measures import Interval, interval_from_json

CELLS = 5
"""Places of the object along each axis."""
LEAST_STIMULI = 30
"""Fewest stimuli that say something."""

Kind = Literal["class", "box", "pixels"]
"""What is scored: the log-probability of a class, the score of a box, or the share of pixels that
have the same class as with the object in the middle."""
Map = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean over stimuli."""

    value: float
    deviation: float
    """Standard deviation over stimuli; 0 for a single one."""
    interval: Interval | None = None
    """95 % interval; None if there are too few stimuli."""

    def to_json(self) -> dict[str, Any]:
        ends = list(self.interval) if self.interval else None
        return {"value": self.value, "deviation": self.deviation, "interval": ends}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "interval": interval_from_json(data["interval"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """Pixels of the objects at some distances from the border of the image."""

    first: int
    last: int
    """Smallest and largest distance in pixels of the image; 0 at the border."""
    agreement: float
    """Share of pixels that have the same class as with the object in the middle."""
    pixels: int

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindSpotFindings:
    """Scores of small objects at 5x5 places, with the network's own padding."""

    is_top_level: ClassVar[bool] = False

    kind: Kind
    stimuli: int
    side: tuple[int, int]
    """Height and width of the objects in pixels."""
    step: tuple[int, int]
    """Pixels between neighbouring places, in rows and columns."""
    scores: Map
    """Mean score at each place, by row."""
    lowest: tuple[int, int]
    """Row and column of the place with the lowest mean, from 0."""
    depth: Figure
    gap: Figure
    """``blind_spot_depth`` and ``border_gap``."""
    accuracy: Map | None = None
    """Share of right predictions at each place; None without labels of classes."""
    rings: tuple[Ring, ...] = ()
    """Agreement by distance to the border, nearest first; empty but for pixels."""

    def to_json(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **values,
            "depth": self.depth.to_json(),
            "gap": self.gap.to_json(),
            "rings": [ring.to_json() for ring in self.rings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        pairs = {key: (data[key][0], data[key][1]) for key in ("side", "step", "lowest")}
        figures = {key: Figure.from_json(data[key]) for key in ("depth", "gap")}
        accuracy = data["accuracy"]
        rest = {
            "scores": tuple(map(tuple, data["scores"])),
            "accuracy": None if accuracy is None else tuple(map(tuple, accuracy)),
            "rings": tuple(Ring(**ring) for ring in data["rings"]),
        }
        return cls(**{**data, **pairs, **figures, **rest})
