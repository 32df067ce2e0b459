"""Records of the probe ``influence``: what each plan did to the outputs. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from pytest_pan.records.plans import Plan

SHIFTED = math.log(1.07)
"""Log-odds beyond which a class counts as shifted: 7 %, as in the paper's Table 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image whose output a plan changed much: ``before`` and ``after`` are classes."""

    index: int
    distance: float
    """L1 between the logits, or the cosine distance of embeddings."""
    before: int | None = None
    after: int | None = None
    label: int | None = None
    thumbnail: str = ""
    """A small PNG in base64; empty where the images are not pictures."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """What one plan did to the outputs, beside the original network on the same images."""

    plan: Plan
    images: int
    """Images (or, of segmentation, images all the same) whose outputs were finite throughout."""
    log_odds: tuple[float, ...] = ()
    """One a class: natural logarithm of the ratio of summed probabilities; empty for embeddings."""
    log_odds_low: tuple[float, ...] = ()
    log_odds_high: tuple[float, ...] = ()
    """Ends of the 95 % bootstrap interval over images, one a class."""
    prediction_flips: int | None = None
    """Predictions that change: the first class of images, or of pixels in segmentation."""
    top5_flips: int | None = None
    """Images whose predicted class is no longer among the first five."""
    flips_to_right: int | None = None
    flips_to_wrong: int | None = None
    """Of the images with labels, those that the plan corrects, and those it spoils."""
    accuracy: float | None = None
    accuracy_before: float | None = None
    """Share of the images with labels that are right, under the plan and originally."""
    top5_accuracy: float | None = None
    top5_accuracy_before: float | None = None
    """The same of the five likeliest classes."""
    sample_influence: float = 0.0
    """99th percentile over images of the distance between the outputs."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By measure, the 95 % interval over images of this plan's figure."""
    distances: tuple[float, ...] = ()
    """Deciles of that distance, from the smallest to the largest: eleven numbers."""
    samples: tuple[Sample, ...] = ()
    """The most affected images, most first."""
    by_distance: tuple[float, ...] = ()
    """Segmentation: share of pixels whose class stays, by distance to the border: sixteen equal
    steps from there to the middle of the shorter side, fewer on maps too small for them."""
    not_swappable: Mapping[str, str] = field(default_factory=dict)
    """Sites that kept their padding, and why."""

    def to_json(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return plain | {
            "plan": self.plan.to_json(),
            "samples": [sample.to_json() for sample in self.samples],
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "not_swappable": dict(self.not_swappable),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        ends = data["intervals"].items()
        values["intervals"] = {name: (low, high) for name, (low, high) in ends}
        values["plan"] = Plan.from_json(data["plan"])
        values["samples"] = tuple(Sample.from_json(s) for s in data["samples"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class InfluenceFindings:
    """What every plan did, in order: the PANs', the random draws', every padding. A sequence."""

    is_top_level: ClassVar[bool] = True

    plans: tuple[Influence, ...] = ()

    def __len__(self) -> int:
        return len(self.plans)

    def __iter__(self) -> Iterator[Influence]:
        return iter(self.plans)

    def __getitem__(self, index: int) -> Influence:
        return self.plans[index]

    def to_json(self) -> list[Any]:
        return [plan.to_json() for plan in self.plans]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(tuple(Influence.from_json(plan) for plan in data))
