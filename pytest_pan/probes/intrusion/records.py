"""Records of the probe ``intrusion``: effects of a line of zeros in the images. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

Axis = Literal["row", "column"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrusion:
    """Effect of one line of zeros inserted into the images."""

    axis: Axis
    position: float
    """Position of the line as a fraction of the image's height (row) or width (column)."""
    pans_fired: float | None
    """Fraction of the PANs on this axis that fire; None if there are none."""
    others_fired: float | None
    """The same fraction for the random non-PANs."""
    prediction_flips: int | None
    """Number of changed predictions; None for outputs without predictions."""
    sample_influence: float
    """99th percentile over images of the distance between the outputs, L1 of logits."""
    images: int
    """Number of images with finite outputs in all passes."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True)
class IntrusionFindings:
    """Sequence of the effects of all inserted lines, rows before columns."""

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
