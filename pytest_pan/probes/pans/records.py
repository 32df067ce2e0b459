"""Records of the probe ``pans``: how the PANs depend on the number of images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


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


@dataclass(frozen=True, slots=True)
class PansFindings:
    """What the audit's neurons and measures do not hold: the convergence."""

    is_top_level: ClassVar[bool] = False

    convergence: tuple[Convergence, ...] = ()
    """PANs at growing numbers of images, all images last; empty where there are too few."""

    def to_json(self) -> dict[str, Any]:
        return {"convergence": [step.to_json() for step in self.convergence]}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(tuple(Convergence.from_json(step) for step in data["convergence"]))
