"""Padding plans: which channels get which padding mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MODES = ("reflect", "symmetric", "replicate", "circular", "mean", "partial", "noise", "zeros")
"""Padding modes. ``zeros`` is the identity: the network's own padding.

``mean``: each padded cell has the mean of its map (image and channel), this project's version of
distribution padding. ``partial``: partial convolution, zero padding with the result scaled by
kernel cells over cells inside the map. ``noise``: normal draws with the map's mean and standard
deviation. The other modes copy cells of the map; ``symmetric`` is reflection that repeats the edge,
which PyTorch does not have.
"""

SWAP_MODES = tuple(mode for mode in MODES if mode != "zeros")
"""Modes that an audit can swap in; the identity would have no effect."""

MAX_DRAWS = 100
"""Most random draws that an audit can compare with."""

TASKS: tuple[str, ...] = (
    "auto",
    "classification",
    "multilabel",
    "segmentation",
    "embedding",
    "detection",
)
"""Kinds of model output; ``auto`` infers the kind from the output's shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A padding mode for selected channels of each site, or for all channels of all sites."""

    name: str
    mode: str = "reflect"
    seed: int | None = None
    """Seed of a randomly drawn plan; else None."""
    channels: Mapping[str, tuple[int, ...]] | None = None
    """Channel numbers by site; None for all channels of all sites."""

    @property
    def size(self) -> int | None:
        """Number of swapped channels; None for all."""
        return None if self.channels is None else sum(len(c) for c in self.channels.values())

    def to_json(self) -> dict[str, Any]:
        chosen = self.channels
        return {
            "name": self.name,
            "mode": self.mode,
            "seed": self.seed,
            "channels": None if chosen is None else {s: list(c) for s, c in chosen.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        chosen = data["channels"]
        channels = None if chosen is None else {s: tuple(c) for s, c in chosen.items()}
        return cls(**{**data, "channels": channels})
