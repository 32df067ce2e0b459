"""Records of the second question: which padding was swapped, and what that did to the outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

Axis = Literal["row", "column"]

MODES = ("reflect", "symmetric", "replicate", "circular", "mean", "partial", "noise", "zeros")
"""``zeros`` is what the network has already: the identity.

``mean``: each padded cell has the mean of its map (image and channel); this project's reading of
distribution padding. ``partial``: partial convolution, zeros and the result scaled by kernel cells
over cells inside the map. ``noise``: normal draws with the map's mean and deviation. The others
copy cells of the map; ``symmetric`` is the reflection that repeats the edge itself, which PyTorch
has not.
"""

SWAPPED_IN = tuple(mode for mode in MODES if mode != "zeros")
"""What an audit can swap in: the identity would show no effect of any padding."""

MOST_DRAWS = 100
"""Random draws that an audit may compare with."""

TASKS: tuple[str, ...] = (
    "auto",
    "classification",
    "multilabel",
    "segmentation",
    "embedding",
    "detection",
)
"""What outputs can be; ``auto`` tells by their shape."""

SHIFTED = math.log(1.07)
"""Log-odds beyond which a class counts as shifted: 7 %, as in the paper's Table 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Another padding for chosen channels: by site, or for every channel of every site."""

    name: str
    mode: str = "reflect"
    seed: int | None = None
    """Of the draw, for a plan drawn at random."""
    channels: Mapping[str, tuple[int, ...]] | None = None
    """By site; None is every channel of every site."""

    @property
    def size(self) -> int | None:
        """Number of channels that are swapped; None for all there are."""
        return None if self.channels is None else sum(len(c) for c in self.channels.values())

    def to_json(self) -> dict[str, Any]:
        chosen = self.channels
        return {
            "name": self.name,
            "mode": self.mode,
            "seed": self.seed,
            "channels": None if chosen is None else {s: list(c) for s, c in chosen.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        chosen = data["channels"]
        channels = None if chosen is None else {s: tuple(c) for s, c in chosen.items()}
        return cls(**{**data, "channels": channels})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrusion:
    """What one line of zeros inside the images did."""

    axis: Axis
    position: float
    """Where the line lies, as a share of the image's height (row) or width (column)."""
    pans_fired: float | None
    """Share of the PANs listening to this axis that fire; None if there is nobody to ask."""
    others_fired: float | None
    """The same of the random non-PANs."""
    prediction_flips: int | None
    """Predictions that change; None where the outputs have none."""
    sample_influence: float
    """99th percentile over images of the distance between the outputs, L1 of logits."""
    images: int
    """Images whose outputs were finite throughout."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


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
