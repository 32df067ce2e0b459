"""Plans: which channels get another padding, and which paddings there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MODES = ("reflect", "symmetric", "replicate", "circular", "mean", "partial", "noise", "zeros")
"""``zeros`` is what the network has already: the identity.

``mean``: each padded cell has the mean of its map (image and channel); this project's reading of
distribution padding. ``partial``: partial convolution, zeros and the result scaled by kernel cells
over cells inside the map. ``noise``: normal draws with the map's mean and deviation. The others
copy cells of the map; ``symmetric`` is the reflection that repeats the edge itself, which PyTorch
has not.
"""

SWAPPED_IN = tuple(mode for mode in MODES if mode != "zeros")
"""What an audit can swap in: the identity would show no effect of any padding."""

MOST_DRAWS = 100
"""Random draws that an audit may compare with."""

TASKS: tuple[str, ...] = (
    "auto",
    "classification",
    "multilabel",
    "segmentation",
    "embedding",
    "detection",
)
"""What outputs can be; ``auto`` tells by their shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Another padding for chosen channels: by site, or for every channel of every site."""

    name: str
    mode: str = "reflect"
    seed: int | None = None
    """Of the draw, for a plan drawn at random."""
    channels: Mapping[str, tuple[int, ...]] | None = None
    """By site; None is every channel of every site."""

    @property
    def size(self) -> int | None:
        """Number of channels that are swapped; None for all there are."""
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
