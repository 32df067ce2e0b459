"""Records of the probe ``foveation``: how often pixels are read. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

Map = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foveation:
    """How often the last feature map reads the pixels, with one padding."""

    padding: str
    """``own``, or the mode that was swapped in for zeros."""
    size: tuple[int, int]
    """Height and width of the image."""
    least: float
    """Mean count of the least read block of pixels over that of the central block."""
    asymmetry: float
    """Difference of the halves over their sum: the larger of top-bottom and left-right."""
    map: Map = ()
    """Mean counts of blocks of pixels, relative to the central block, by row."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        rows = tuple(map(tuple, data["map"]))
        height, width = data["size"]
        return cls(**{**data, "map": rows, "size": (height, width)})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoveationFindings:
    """Foveation with the network's own padding, and with the swapped one if it can be counted."""

    is_top_level: ClassVar[bool] = False

    stride: int
    """Pixels between neighbouring cells of the last map, on the axis where they are more."""
    maps: tuple[Foveation, ...]
    """The network's own padding first."""
    replaced: tuple[str, ...] = ()
    """What was replaced by identity: ``gates``, ``attention``."""

    @property
    def own(self) -> Foveation:
        """With the network's own padding."""
        return self.maps[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "maps": [each.to_json() for each in self.maps],
            "replaced": list(self.replaced),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            stride=data["stride"],
            maps=tuple(Foveation.from_json(each) for each in data["maps"]),
            replaced=tuple(data["replaced"]),
        )
