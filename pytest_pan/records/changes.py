"""Records of how figures compare with earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Change = Literal["worse", "lost", "better", "same", "new", "unknown"]

_NOTHING_ELSE = (
    "nothing else: weights, images, settings, versions and hardware are the same, so the code "
    "that ran has changed, or the figures are not deterministic"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A measure before and after; None where it is undefined or was not taken."""

    measure: str
    before: float | None
    after: float | None
    change: Change
    layer: str = ""
    """Whose figure it is; empty for the whole model's."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """An audit beside its baseline."""

    file: str
    """The baseline's, from pytest's rootdir."""
    rows: tuple[Row, ...] = ()
    layers: tuple[Row, ...] = ()
    """The number of PANs in each layer where it is another."""
    differences: tuple[str, ...] = ()
    """A line for each of weights, images, settings, hardware, versions that are not the same."""
    missing: str = ""
    """Why there was nothing to compare with; else empty."""
    written: str = ""
    """What became of the file where the run was to update it."""

    def count(self, change: Change) -> int:
        return sum(row.change == change for row in self.rows)

    @property
    def has_changed(self) -> bool:
        """Whether any figure is another than in the baseline."""
        return bool(self.layers) or any(row.change != "same" for row in self.rows)

    @property
    def is_improvement(self) -> bool:
        """Whether a measure is better and none is worse or gone."""
        return bool(self.count("better")) and not (self.count("worse") or self.count("lost"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """What may have changed the figures, all of it; says so where it can only be the code."""
        return self.differences or (_NOTHING_ELSE,)

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
                "rows": tuple(Row.from_json(row) for row in data["rows"]),
                "layers": tuple(Row.from_json(row) for row in data["layers"]),
                "differences": tuple(data["differences"]),
            }
        )
