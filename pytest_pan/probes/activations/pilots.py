"""First batches of a site, from which the edges for counting its values are derived."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.records.sites import Site
from pytest_pan.stats import counts

PILOT = 16384
PILOT_IMAGES = 64
"""Minimum number of border values per channel, and of images, to derive edges from."""

Parts = list[tuple[int, Tensor, Tensor, Tensor]]
"""Per batch: index of its first image, borders (C, n), minimum and maximum (C,)."""


@dataclass
class Pilot:
    """First batches of a site from all processes."""

    site: Site
    parts: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = field(default_factory=dict)

    def add(self, parts: Parts) -> None:
        """Add batches of one process."""
        for number, borders, low, high in parts:
            self.parts.setdefault(number, []).append((borders, low, high))

    def edges(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return edges and range from the fewest first batches that suffice; None if too few."""
        chosen: list[tuple[Tensor, Tensor, Tensor]] = []
        for _, parts in sorted(self.parts.items()):
            chosen += parts
            values = sum(borders.shape[1] for borders, _, _ in chosen)
            if values >= required_values(self.site):
                borders, lows, highs = zip(*chosen, strict=True)
                low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
                wide = [b if b.dtype == torch.float64 else b.float() for b in borders]
                return counts.make_edges(torch.cat(wide, 1), low, high), low, high
        return None


def border_values(site: Site) -> int:
    """Return the number of border values of a channel per image."""
    return 2 * sum(site.map)


def required_values(site: Site) -> int:
    """Return the number of border values of a channel that edges are derived from."""
    return max(PILOT, PILOT_IMAGES * border_values(site))
