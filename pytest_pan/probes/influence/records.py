"""Records of the probe ``influence``: effect of each plan on the outputs. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from pytest_pan.records.plans import Plan

SHIFTED = math.log(1.07)
"""Absolute log-odds beyond which a class counts as shifted: 7 %, as in the paper's Table 3."""


def class_label(classes: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number if it has none."""
    return classes[index] if index < len(classes) else str(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of the images whose output a plan changed most."""

    index: int
    distance: float
    """L1 between the logits, or the cosine distance of embeddings."""
    before: int | None = None
    """Class predicted originally; ``after``: under the plan; ``label``: as labelled."""
    after: int | None = None
    label: int | None = None
    thumbnail: str = ""
    """Small PNG in base64; empty if the image has neither 1 nor 3 channels."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """Effect of one plan on the outputs, relative to the original network on the same images."""

    plan: Plan
    images: int
    """Number of images (not pixels) with finite outputs under every plan."""
    outputs: str = ""
    """How the outputs were read, for people: ``logits of 1,000 classes``."""
    log_odds: tuple[float, ...] = ()
    """Natural logarithm of the ratio of summed probabilities, per class; empty without classes."""
    log_odds_low: tuple[float, ...] = ()
    log_odds_high: tuple[float, ...] = ()
    """Ends of the 95 % interval over images, per class."""
    mean_log_odds_shift: float | None = None
    """Mean |log-odds| of all classes, weighted by their summed original probability."""
    divergence: float | None = None
    divergence_99: float | None = None
    """Jensen-Shannon divergence of the class probabilities, in bits: mean and 99th percentile over
    images."""
    prediction_flips: int | None = None
    """Changed predictions: the top class of images, or of pixels in segmentation."""
    top5_flips: int | None = None
    """Images whose originally predicted class is no longer among the top five."""
    flips_to_right: int | None = None
    flips_to_wrong: int | None = None
    """Labelled images whose prediction becomes right, and wrong, under the plan."""
    accuracy: float | None = None
    accuracy_before: float | None = None
    """Accuracy on labelled images, under the plan and originally."""
    top5_accuracy: float | None = None
    top5_accuracy_before: float | None = None
    """Top-5 accuracy on labelled images, under the plan and originally."""
    sample_influence: float = 0.0
    """99th percentile over images of the distance between the outputs."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % interval over images of this plan's figures, by measure."""
    distances: tuple[float, ...] = ()
    """Deciles of that distance, minimum and maximum included: eleven numbers."""
    samples: tuple[Sample, ...] = ()
    """Most affected images, in decreasing order of distance."""
    by_distance: tuple[float, ...] = ()
    """Segmentation: share of pixels whose class is unchanged, by distance to the border, in sixteen
    equal steps to the middle of the shorter side; fewer steps on small maps."""
    not_swappable: Mapping[str, str] = field(default_factory=dict)
    """Sites whose padding could not be swapped, with the reason."""

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
    """Sequence of the effects of all plans: PANs, random draws, every padding."""

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
