"""Records of the probe ``ppp``: what padding adds to the features of each layer. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

Map = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What a padding adds to the features of one layer."""

    mae: float
    """Mean of |E D| over channels and cells, in standard deviations of the features."""
    snr: float | None
    """In dB; None below the noise."""
    map: Map = ()
    """|E D| over channels, in standard deviations, by row; kept for the strongest layers."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "map": tuple(map(tuple, data["map"]))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One examined layer."""

    site: str
    own: Pattern
    """With the network's own padding."""
    swapped: Pattern
    """With every examined layer padded in the swapped mode."""

    def to_json(self) -> dict[str, Any]:
        return {"site": self.site, "own": self.own.to_json(), "swapped": self.swapped.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        own, swapped = (Pattern.from_json(data[key]) for key in ("own", "swapped"))
        return cls(site=data["site"], own=own, swapped=swapped)


@dataclass(frozen=True, slots=True, kw_only=True)
class PppFindings:
    """PPP of all layers whose maps could be compared, in the order of the sites."""

    is_top_level: ClassVar[bool] = False

    margin: int
    """Pixels of true surroundings on each side."""
    images: int
    mode: str
    """Mode that was swapped in."""
    layers: tuple[Layer, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "margin": self.margin,
            "images": self.images,
            "mode": self.mode,
            "layers": [layer.to_json() for layer in self.layers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        layers = tuple(Layer.from_json(layer) for layer in data["layers"])
        return cls(**{**data, "layers": layers})
