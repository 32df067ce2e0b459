"""Records of the probe ``intrusion``: what a line of zeros inside the images did. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

Axis = Literal["row", "column"]


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


@dataclass(frozen=True, slots=True)
class IntrusionFindings:
    """What each inserted line did, rows before columns. A sequence."""

    is_top_level: ClassVar[bool] = False

    lines: tuple[Intrusion, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Intrusion]:
        return iter(self.lines)

    def __getitem__(self, index: int) -> Intrusion:
        return self.lines[index]

    def to_json(self) -> list[Any]:
        return [line.to_json() for line in self.lines]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cls(tuple(Intrusion.from_json(line) for line in data))
