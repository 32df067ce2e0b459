"""The first batches of a site, from which the edges come that its values are counted between."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.records.sites import Site
from pytest_pan.stats import counts

PILOT = 16384
PILOT_IMAGES = 64
"""Border values of a channel, and images, from which edges are taken, both at least."""

Parts = list[tuple[int, Tensor, Tensor, Tensor]]
"""Of some batches: number of the first image, borders (C, n), least and largest value (C,)."""


@dataclass
class Pilot:
    """The first batches of a site, of all processes."""

    site: Site
    parts: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = field(default_factory=dict)

    def take(self, parts: Parts) -> None:
        """Adds batches of a process."""
        for number, borders, low, high in parts:
            self.parts.setdefault(number, []).append((borders, low, high))

    def edges(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Edges and range from as many batches as it takes; None while there are not enough."""
        chosen: list[tuple[Tensor, Tensor, Tensor]] = []
        for _, parts in sorted(self.parts.items()):
            chosen += parts
            values = sum(borders.shape[1] for borders, _, _ in chosen)
            if values >= wanted(self.site):
                borders, lows, highs = zip(*chosen, strict=True)
                low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
                wide = [b if b.dtype == torch.float64 else b.float() for b in borders]
                return counts.edges_of(torch.cat(wide, 1), low, high), low, high
        return None


def border_values(site: Site) -> int:
    """Of a channel, in one image."""
    return 2 * sum(site.map)


def wanted(site: Site) -> int:
    """Border values of a channel that edges are taken from."""
    return max(PILOT, PILOT_IMAGES * border_values(site))
