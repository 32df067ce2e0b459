"""Records of how an audit's values compare with earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Change = Literal["worse", "lost", "better", "same", "new", "unknown"]

_UNKNOWN_REASON = (
    "nothing recorded: weights, images, settings, versions and hardware are the same, so the code "
    "has changed or the values are not deterministic"
)


@dataclass(frozen=True, slots=True)
class MeasureChange:
    """A measure's value before and after; None where it is undefined or was not measured."""

    measure: str
    before: float | None
    after: float | None
    change: Change
    layer: str = ""
    """The layer's name; empty for the whole model."""
    is_noise: bool = False
    """Whether the values differ, but one lies in the other's interval: the change is "same"."""

    def to_json(self) -> dict[str, Any]:
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        return data if self.is_noise else {k: v for k, v in data.items() if k != "is_noise"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """The result of comparing an audit with its baseline."""

    file: str
    """Path of the baseline file, relative to pytest's rootdir."""
    rows: tuple[MeasureChange, ...] = ()
    layers: tuple[MeasureChange, ...] = ()
    """``pan_count`` of each layer where it changed."""
    differences: tuple[str, ...] = ()
    """One line for each of weights, images, settings, hardware and versions that differs."""
    missing: str = ""
    """Why there was nothing to compare with; empty if there was."""
    written: str = ""
    """Result of updating the file; empty in a run that does not update baselines."""

    def count(self, change: Change) -> int:
        return sum(row.change == change for row in self.rows)

    @property
    def has_changed(self) -> bool:
        """Whether any value differs from the baseline."""
        return bool(self.layers) or any(row.change != "same" for row in self.rows)

    @property
    def is_improvement(self) -> bool:
        """Whether a measure is better and none is worse or missing."""
        return bool(self.count("better")) and not (self.count("worse") or self.count("lost"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Possible reasons for a change: the recorded differences, or a line that says none."""
        return self.differences or (_UNKNOWN_REASON,)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "rows": [row.to_json() for row in self.rows],
            "layers": [row.to_json() for row in self.layers],
            "differences": list(self.differences),
            "missing": self.missing,
            "written": self.written,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **data,
                "rows": tuple(MeasureChange.from_json(row) for row in data["rows"]),
                "layers": tuple(MeasureChange.from_json(row) for row in data["layers"]),
                "differences": tuple(data["differences"]),
            }
        )
