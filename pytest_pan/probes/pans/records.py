"""Records of the probe ``pans``: dependence of the PANs on the number of images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """PANs found in random subsamples of one size."""

    images: int
    """Images per subsample; the rounded mean if sizes differ by one."""
    subsamples: int
    pan_count: float
    """Mean over the subsamples, as is ``pan_fraction``."""
    pan_fraction: float
    low: int
    """Smallest count of any subsample; ``high`` is the largest."""
    high: int
    overlap: float
    """Mean Jaccard index of a subsample's PANs and the PANs of all images."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class PansFindings:
    """Findings beyond the audit's neurons and measures: the convergence."""

    is_top_level: ClassVar[bool] = False

    convergence: tuple[Convergence, ...] = ()
    """PANs at growing numbers of images, all images last; empty if there are too few images."""

    def to_json(self) -> dict[str, Any]:
        return {"convergence": [step.to_json() for step in self.convergence]}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(tuple(Convergence.from_json(step) for step in data["convergence"]))
