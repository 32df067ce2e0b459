"""Records of the probe ``lines``: the strongest line of each layer's mean map. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

Axis = Literal["row", "column"]
Map = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Strongest row or column of a layer's mean map."""

    axis: Axis
    index: int
    lines: int
    """Number of rows (columns) of the map."""
    score: float
    """Deviation from the interior half, in the channel's standard deviations."""

    @property
    def name(self) -> str:
        """``last row``, ``row 3 of 14``."""
        if self.index in (0, self.lines - 1):
            return f"{'last' if self.index else 'first'} {self.axis}"
        return f"{self.axis} {self.index} of {self.lines}"

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLines:
    """Strongest lines of a layer, by input and padding."""

    site: str
    channels: int
    left_out: int
    """Channels whose deviation is below a thousandth of the layer's median."""
    own: Line
    """Random inputs, own padding: the value of ``line_artifact``."""
    swapped: Line
    zero_own: Line
    """All-zero input, in the deviations under random input."""
    zero_swapped: Line
    halves: tuple[float, float]
    """Scores with own padding of the first and of the last 16 random inputs."""
    map_own: Map = ()
    """Median over channels of the absolute deviation by cell; the strongest layers only."""
    map_swapped: Map = ()

    def to_json(self) -> dict[str, Any]:
        return {
            f.name: value.to_json() if isinstance(value := getattr(self, f.name), Line) else value
            for f in fields(self)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        read: dict[str, Any] = dict(data)
        for key in ("own", "swapped", "zero_own", "zero_swapped"):
            read[key] = Line.from_json(data[key])
        for key in ("map_own", "map_swapped"):
            read[key] = tuple(map(tuple, data[key]))
        read["halves"] = tuple(data["halves"])
        return cls(**read)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesFindings:
    """Lines of all measured layers."""

    is_top_level: ClassVar[bool] = False

    mode: str
    """Padding mode that was swapped in."""
    inputs: int
    """Number of random inputs."""
    layers: tuple[LayerLines, ...]
    own: float
    """Median over layers."""
    swapped: float
    halves: tuple[float, float]
    """Median over layers for each half of the random inputs."""

    @property
    def strongest(self) -> LayerLines:
        """The layer with the strongest line under its own padding."""
        return max(self.layers, key=lambda each: each.own.score)

    def to_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "inputs": self.inputs,
            "layers": [each.to_json() for each in self.layers],
            "own": self.own,
            "swapped": self.swapped,
            "halves": list(self.halves),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        layers = tuple(LayerLines.from_json(each) for each in data["layers"])
        return cls(**{**data, "layers": layers, "halves": tuple(data["halves"])})
