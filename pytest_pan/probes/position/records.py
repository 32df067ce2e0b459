"""Records of the probe ``position``: read-outs of the position from features. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

Map = tuple[tuple[float, ...], ...]

MAIN = ("H", "V", "G")
"""Targets that the measures average: column, row, and distance from the centre (Gaussian)."""

TARGETS = (*MAIN, "HS", "VS")
"""All targets: also stripes along both axes."""

ALL = "all stages"
IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """How well a read-out of some features gives the targets, averaged over test images."""

    source: str
    """``all stages``, ``image``, or the site of one stage."""
    padding: str
    """``own``, or the mode that was swapped in."""
    spc: Mapping[str, float]
    """Spearman's rank correlation over cells, by target."""
    mae: Mapping[str, float]
    """Mean absolute error of the prediction, clipped to 0 to 1, by target."""
    constant: Mapping[str, int]
    """Images with a constant prediction, whose rank correlation counts as 0, by target."""
    images: int
    """Number of test images."""

    @property
    def mean_spc(self) -> float:
        """Mean rank correlation of the main targets."""
        return sum(self.spc[name] for name in MAIN) / len(MAIN)

    @property
    def mean_mae(self) -> float:
        """Mean absolute error over the main targets."""
        return sum(self.mae[name] for name in MAIN) / len(MAIN)

    def to_json(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Layer whose features are read."""

    site: str
    map: tuple[int, int]
    channels: int

    def to_json(self) -> dict[str, Any]:
        return {"site": self.site, "map": list(self.map), "channels": self.channels}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        height, width = data["map"]
        return cls(**{**data, "map": (height, width)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionFindings:
    """Read-outs of all features and of parts of them."""

    is_top_level: ClassVar[bool] = False

    mode: str
    """The padding that was swapped in."""
    train: int
    """Number of training images."""
    seed: int
    """Seed of the split into training and test images."""
    stages: tuple[Stage, ...]
    readouts: tuple[Readout, ...]
    """On test images; all stages with the own padding first."""
    black: tuple[Readout, ...]
    """All stages on a black image, with the own padding first: no content, so nothing but padding
    can tell the position."""
    black_maps: Mapping[str, Map]
    """What the read-out of the own padding predicts on the black image, by target."""

    def of(self, source: str, padding: str) -> Readout | None:
        """Return one of the read-outs; None if there is none."""
        found = (r for r in self.readouts if (r.source, r.padding) == (source, padding))
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        parts = {
            key: [each.to_json() for each in getattr(self, key)]
            for key in ("stages", "readouts", "black")
        }
        maps = {name: [list(row) for row in rows] for name, rows in self.black_maps.items()}
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, **parts, "black_maps": maps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        maps = {name: tuple(map(tuple, rows)) for name, rows in data["black_maps"].items()}
        parts: dict[str, Any] = {
            "stages": tuple(map(Stage.from_json, data["stages"])),
            "readouts": tuple(map(Readout.from_json, data["readouts"])),
            "black": tuple(map(Readout.from_json, data["black"])),
        }
        return cls(**{**data, **parts, "black_maps": maps})
