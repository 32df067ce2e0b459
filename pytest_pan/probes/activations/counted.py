"""A site's samples as counts between fixed edges, which do not grow with the images."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_pan.instrument.processes import Processes
from pytest_pan.records.neurons import SIDES
from pytest_pan.records.sites import Site
from pytest_pan.stats import counts as between_edges
from pytest_pan.stats import lookup
from pytest_pan.stats.counts import COARSE, Bounds
from pytest_pan.stats.lookup import Lookup

PROFILE_DEPTH = 4
"""Lines from the border that a distance profile has, the border itself included."""

_LONG = 2**31
_REGIONS = "TBLRC"


class Counted:
    """Counts of the borders and the centre between all edges, of the lines behind between a few.

    Two of the same edges merge by addition. ``edges`` (C, E); ``low`` and ``high`` (C,) are the
    range of the histograms.
    """

    def __init__(self, site: Site, edges: Tensor, low: Tensor, high: Tensor) -> None:
        self.site, self.edges, self.low, self.high = site, edges, low, high
        self.images = 0
        self.bad = torch.zeros(len(edges), dtype=torch.bool, device=edges.device)
        self.depth = min(PROFILE_DEPTH, min(site.map) // 2)
        """Distances that have a profile, the border's own included."""
        self._coarse = edges[:, ::COARSE].contiguous()
        channels, slots = len(edges), edges.shape[1] + 1
        self._counts = edges.new_zeros((len(_REGIONS), channels, slots), dtype=torch.int32)
        shape = 4 * (self.depth - 1), channels, self._coarse.shape[1] + 1
        self._rings = edges.new_zeros(shape, dtype=torch.int32)
        self._lookup = Lookup(edges) if lookup.worthwhile(edges) else None

    def add(self, maps: Tensor) -> None:
        """Takes the maps of some images, (N, C, H, W): all of them, or none where it raises."""
        self._widen(self.images + len(maps))
        if self._lookup is not None:
            self.bad |= self._lookup.count(maps, self._counts, self._rings, COARSE)
        else:
            self._search(maps)
        self.images += len(maps)

    def _search(self, maps: Tensor) -> None:
        bad = ~torch.isfinite(maps).all(3).all(2).all(0)
        parts = [*(_line(maps, side, 0) for side in SIDES), _rows(maps[:, :, 1:-1, 1:-1])]
        found = [between_edges.between(part, self.edges) for part in parts]
        rings = [
            between_edges.between(_line(maps, side, distance), self._coarse)
            for distance in range(1, self.depth)
            for side in SIDES
        ]
        self.bad |= bad
        for kept, counts in zip((*self._counts, *self._rings), (*found, *rings), strict=True):
            kept += counts

    def _widen(self, images: int) -> None:
        height, width = self.site.map
        if images * height * width >= _LONG and self._counts.dtype != torch.long:
            self._counts, self._rings = self._counts.long(), self._rings.long()

    def share(self, processes: Processes) -> None:
        """Adds up over the processes."""
        self.images = int(processes.total(torch.tensor(self.images)))
        self._widen(self.images)
        self._counts = processes.total(self._counts)
        self._rings = processes.total(self._rings)
        self.bad = processes.total(self.bad.int()).bool()

    def statistics(self) -> Bounds:
        """Bounds of the statistics of all channels."""
        *borders, centre = self._counts
        return between_edges.bounds(borders, centre, self.edges)

    def profile(self, channels: Tensor, distance: int) -> Bounds:
        """Bounds of the statistics of the lines at a distance from each side, above 0."""
        first = 4 * (distance - 1)
        rings = [ring[channels] for ring in self._rings[first : first + 4]]
        centre = between_edges.coarse(self._counts[-1][channels].long())
        return between_edges.bounds(rings, centre, self._coarse[channels])

    def below_display(self, region: str, channels: Tensor) -> tuple[Tensor, int]:
        """Values of a region (T, B, L, R or C) below the inner ends of the histogram's bins."""
        found = self._counts[_REGIONS.index(region)][channels].long()
        part = self.edges[channels], self.low[channels], self.high[channels]
        return between_edges.below_display(found, *part), int(found[0].sum())


def _line(maps: Tensor, side: str, distance: int) -> Tensor:
    dim, end = (2, side == "B") if side in "TB" else (3, side == "R")
    return _rows(maps.select(dim, -1 - distance if end else distance))


def _rows(part: Tensor) -> Tensor:
    """(N, C, ...) -> (C, N * ...)."""
    return part.transpose(0, 1).reshape(part.shape[1], -1)
