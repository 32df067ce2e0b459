"""Records of the probe ``uneven``: which layers read padding unevenly, or drop cells. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution or pool that is uneven or drops cells."""

    name: str
    is_pool: bool
    consumed: tuple[int, int, int, int]
    """Padding that its windows reach: top, bottom, left, right."""
    dropped: tuple[int, int]
    """Rows at the bottom and columns at the right of its input that no window reaches."""
    shift: tuple[float, float] | None = None
    """Mean place of the kernels' absolute weights relative to their middle, in cells: positive is
    to the bottom, and to the right. None for pools."""

    @property
    def is_uneven(self) -> bool:
        """Whether opposite sides consume different amounts of padding."""
        top, bottom, left, right = self.consumed
        return top != bottom or left != right

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        tuples = {key: tuple(data[key]) for key in ("consumed", "dropped")}
        return cls(**{**data, **tuples, "shift": tuple(data["shift"]) if data["shift"] else None})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenFindings:
    """Layers of the network at the size of its images, and sizes at which all are even."""

    is_top_level: ClassVar[bool] = False

    size: tuple[int, int]
    """Height and width of the images."""
    layers: tuple[Layer, ...]
    """Those that are uneven or drop cells, in network order."""
    even_sizes: tuple[tuple[int, int], ...] = ()
    """Nearest sizes at which no layer is uneven, ascending: at most two smaller and two larger.

    Empty if none was found, or if no layer is uneven at ``size``.
    """
    asymmetry: tuple[float, float] | None = None
    """Foveation asymmetry at ``size`` and at the nearest even size; None if it was not measured."""

    @property
    def uneven(self) -> tuple[Layer, ...]:
        """The uneven layers."""
        return tuple(layer for layer in self.layers if layer.is_uneven)

    @property
    def convolutions(self) -> int:
        """Number of uneven convolutions, without pools."""
        return sum(not layer.is_pool for layer in self.uneven)

    @property
    def dropped(self) -> int:
        """Rows and columns that layers drop, summed over layers."""
        return sum(sum(layer.dropped) for layer in self.layers)

    @property
    def nearest(self) -> tuple[int, int] | None:
        """The even size nearest to the images'; the larger one of two equally near."""
        distances = [(abs(each[0] - self.size[0]), -each[0], each) for each in self.even_sizes]
        return min(distances)[2] if distances else None

    def to_json(self) -> dict[str, Any]:
        return {
            "size": list(self.size),
            "layers": [layer.to_json() for layer in self.layers],
            "even_sizes": [list(each) for each in self.even_sizes],
            "asymmetry": None if self.asymmetry is None else list(self.asymmetry),
            "convolutions": self.convolutions,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        asymmetry = data["asymmetry"]
        return cls(
            size=_two(data["size"]),
            layers=tuple(Layer.from_json(each) for each in data["layers"]),
            even_sizes=tuple(_two(each) for each in data["even_sizes"]),
            asymmetry=None if asymmetry is None else (asymmetry[0], asymmetry[1]),
        )


def _two(values: Any) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)
