"""Limit and verdict records."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from pytest_pan.records.measures import Interval, interval_from_json

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on a measure, and where it was set."""

    measure: str
    direction: Literal["max", "min"]
    bound: float
    """NaN for a bound relative to a baseline that is missing or has not been read."""
    origin: str
    """Where the limit was set, such as ``--pan-limit``; shown in messages."""
    target: str = ""
    """Class name, for a bound on one class; else empty."""
    layer: str = ""
    """Glob, for a bound on each layer it matches; else empty."""
    earlier: tuple[str, ...] = ()
    """Globs before this one in the same table; this limit does not apply to layers they match."""
    relative: str = ""
    """Source text of a bound relative to a baseline, such as ``baseline+10%``; else empty."""

    @property
    def keyword(self) -> str:
        """Name of the limit: ``max_pan_count``, or ``max_pan_count[features.1.*]`` for a part."""
        part = self.target or self.layer
        return f"{self.direction}_{self.measure}" + (f"[{part}]" if part else "")

    @property
    def group(self) -> tuple[str, str, bool]:
        """Direction, measure and whether it bounds a part; limits override others of the group."""
        return self.direction, self.measure, bool(self.target or self.layer)

    @property
    def subject(self) -> str:
        """The bounded value, such as ``pan_fraction in features.1.*``."""
        if self.layer:
            return f"{self.measure} in {self.layer}"
        return f"{self.measure} of {self.target}" if self.target else self.measure

    @property
    def bound_text(self) -> str:
        """The bound as the user wrote it."""
        return self.relative or f"{self.bound:g}"

    def applies_to(self, layer: str) -> bool:
        """Return whether a limit with a layer glob bounds that layer."""
        return fnmatch.fnmatchcase(layer, self.layer) and not any(
            fnmatch.fnmatchcase(layer, glob) for glob in self.earlier
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
    """The outcome of checking a value against a limit, with the layers and neurons behind it."""

    limit: Limit
    value: float
    outcome: Outcome
    evidence: tuple[str, ...] = ()
    """Lines of text: the layers and neurons that caused the outcome."""
    interval: Interval | None = None
    """95 % interval of the value; a limit inside it makes the outcome inconclusive."""
    more_images: int | None = None
    """Estimate of how many more images would decide; None if decided or if no number would."""
    basis: str = ""
    """Text that explains the outcome: the interval, or why there is none."""

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
            "interval": interval_from_json(data.get("interval")),
        }
        return cls(**{**data, **values})
