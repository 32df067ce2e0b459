"""The record of how figures depend on the number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

Interval = tuple[float, float]

LEAST_IMAGES = 32
"""Images from which there are intervals: fewer do not tell how much they vary. A quarter of them,
which the trend of a count needs, is eight images then."""


def ends_of(data: Any) -> Interval | None:
    """An interval as JSON has it: two numbers, or nothing."""
    return (data[0], data[1]) if data else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """The PANs that so many images give, over random subsamples of that size."""

    images: int
    """In a subsample, the mean where they differ by one."""
    subsamples: int
    pan_count: float
    """Mean over the subsamples; ``pan_fraction`` too."""
    pan_fraction: float
    low: int
    """The smallest count of any subsample, and the largest."""
    high: int
    overlap: float
    """Mean Jaccard index of a subsample's PANs and those of all images: common over either."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)
