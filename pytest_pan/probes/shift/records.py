"""Records of the probe ``shift``: how often the top class stays. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from pytest_pan.records.measures import Interval, interval_from_json

Kind = Literal["roll", "circular roll", "resize", "shift"]
"""``roll``: by the total stride, own padding. ``circular roll``: by random offsets, every padding
circular. ``resize``: to the nearest size at which every layer is even. ``shift``: between two
windows of a larger image, own padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """Share of pairs of inputs that have the same top class."""

    kind: Kind
    share: float
    pairs: int
    images: int
    interval: Interval | None = None
    """95 % interval of the share; None if there are too few images."""

    def to_json(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "interval": list(self.interval) if self.interval else None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "interval": interval_from_json(data["interval"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftFindings:
    """Consistencies that could be measured, in the order of :data:`Kind`."""

    is_top_level: ClassVar[bool] = False

    stride: int
    """Total stride of the network in pixels."""
    found: tuple[Consistency, ...] = ()
    pixel_change: float | None = None
    """Mean change of the top class's probability under a shift by one pixel; None without larger
    images."""
    even_size: tuple[int, int] | None = None
    """Height and width that the images were resized to; None if all layers are even as they are."""
    accuracy: tuple[float, float] | None = None
    """Accuracy on the images and on the resized ones; None without labels or ``even_size``."""

    def __iter__(self) -> Iterator[Consistency]:
        return iter(self.found)

    def of(self, kind: Kind) -> Consistency | None:
        """Return the consistency of a kind; None if it was not measured."""
        return next((each for each in self.found if each.kind == kind), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "found": [each.to_json() for each in self.found],
            "pixel_change": self.pixel_change,
            "even_size": None if self.even_size is None else list(self.even_size),
            "accuracy": None if self.accuracy is None else list(self.accuracy),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            stride=data["stride"],
            found=tuple(Consistency.from_json(each) for each in data["found"]),
            pixel_change=data["pixel_change"],
            even_size=_pair(data["even_size"]),
            accuracy=_pair(data["accuracy"]),
        )


def _pair(values: list[Any] | None) -> tuple[Any, Any] | None:
    return None if values is None else (values[0], values[1])
