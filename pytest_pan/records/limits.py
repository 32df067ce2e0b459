"""The records of what was asked of a model, and of what came of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from pytest_pan.records.measures import Interval, ends_of

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on a measure, and where it was written."""

    measure: str
    direction: Literal["max", "min"]
    bound: float
    """NaN where it is relative to a baseline that is not there, or has not been looked at."""
    origin: str
    target: str = ""
    """A class, where the bound is that class's; empty for the whole model."""
    layer: str = ""
    """A glob, where the bound is that of each layer it matches; empty for the whole model."""
    earlier: tuple[str, ...] = ()
    """Globs written before this one in the same table; the layers they match are bounded there."""
    relative: str = ""
    """As it was written where it is relative to a baseline: ``baseline+10%``; else empty."""

    @property
    def keyword(self) -> str:
        """``max_pan_fraction``, with a class or a glob of layers as ``max_...[features.1.*]``."""
        part = self.target or self.layer
        return f"{self.direction}_{self.measure}" + (f"[{part}]" if part else "")

    @property
    def group(self) -> tuple[str, str, bool]:
        """Direction, measure, and whether it is about a part: what a nearer place replaces."""
        return self.direction, self.measure, bool(self.target or self.layer)

    @property
    def subject(self) -> str:
        """What the bound is about: ``pan_fraction in features.1.*``."""
        if self.layer:
            return f"{self.measure} in {self.layer}"
        return f"{self.measure} of {self.target}" if self.target else self.measure

    @property
    def written(self) -> str:
        """The bound as the user wrote it."""
        return self.relative or f"{self.bound:g}"

    def binds(self, layer: str) -> bool:
        """Whether that layer's figure is among those that a bound of a glob is about."""
        return fnmatch.fnmatchcase(layer, self.layer) and not any(
            fnmatch.fnmatchcase(layer, before) for before in self.earlier
        )

    def to_json(self) -> dict[str, Any]:
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        return data | {"besides": list(data.pop("earlier"))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {key: value for key, value in data.items() if key != "besides"}
        return cls(**values, earlier=tuple(data.get("besides", ())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A limit held against a value, with the layers and neurons behind it."""

    limit: Limit
    value: float
    outcome: Outcome
    evidence: tuple[str, ...] = ()
    """Lines for people: the layers and the neurons that did it."""
    interval: Interval | None = None
    """Of the value; where the limit lies inside, the outcome is inconclusive."""
    more_images: int | None = None
    """About how many more would decide; None where it is decided, or none would."""
    basis: str = ""
    """What the outcome rests on, for people: the interval, or that there is none."""

    def to_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit.to_json(),
            "value": self.value,
            "outcome": self.outcome,
            "evidence": list(self.evidence),
            "interval": list(self.interval) if self.interval else None,
            "more_images": self.more_images,
            "basis": self.basis,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values = {
            "limit": Limit.from_json(data["limit"]),
            "evidence": tuple(data["evidence"]),
            "interval": ends_of(data.get("interval")),
        }
        return cls(**{**data, **values})
