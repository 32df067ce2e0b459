"""A site's samples as counts between fixed edges, which do not grow with the images."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_pan.distributed import Processes
from pytest_pan.records import SIDES, Site
from pytest_pan.stats import counts as between_edges
from pytest_pan.stats.counts import Bounds

PROFILE_DEPTH = 4
"""Lines from the border that a distance profile has, the border itself included."""

_LONG = 2**31


class Counted:
    """Counts of the borders and the centre between all edges, of the lines behind between a few.

    Two of the same edges merge by addition. ``edges`` (C, E); ``low`` and ``high`` (C,) are the
    range of the histograms.
    """

    def __init__(self, site: Site, edges: Tensor, low: Tensor, high: Tensor) -> None:
        self.site, self.edges, self.low, self.high = site, edges, low, high
        self.images = 0
        self.bad = torch.zeros(len(edges), dtype=torch.bool, device=edges.device)
        shape = len(edges), edges.shape[1] + 1
        self._counts = {region: edges.new_zeros(shape, dtype=torch.int32) for region in "TBLRC"}
        self._coarse = edges[:, :: between_edges.COARSE].contiguous()
        shape = len(edges), self._coarse.shape[1] + 1
        depth = min(PROFILE_DEPTH, min(site.map) // 2)
        self._rings = {
            (side, distance): edges.new_zeros(shape, dtype=torch.int32)
            for distance in range(1, depth)
            for side in SIDES
        }

    def add(self, maps: Tensor) -> None:
        """Takes the maps of some images, (N, C, H, W): all of them, or none where it raises."""
        bad = ~torch.isfinite(maps).all(3).all(2).all(0)
        found = {side: between_edges.between(_line(maps, side, 0), self.edges) for side in SIDES}
        found["C"] = between_edges.between(_rows(maps[:, :, 1:-1, 1:-1]), self.edges)
        rings = {
            (side, distance): between_edges.between(_line(maps, side, distance), self._coarse)
            for side, distance in self._rings
        }
        self.images += len(maps)
        self._widen()
        self.bad |= bad
        for region, counts in found.items():
            self._counts[region] += counts
        for place, counts in rings.items():
            self._rings[place] += counts

    def _widen(self) -> None:
        height, width = self.site.map
        if self.images * height * width >= _LONG and self._counts["C"].dtype != torch.long:
            self._counts = {region: found.long() for region, found in self._counts.items()}

    def share(self, processes: Processes) -> None:
        """Adds up over the processes."""
        self.images = int(processes.total(torch.tensor(self.images)))
        self._widen()
        self._counts = {key: processes.total(found) for key, found in self._counts.items()}
        self._rings = {key: processes.total(ring) for key, ring in self._rings.items()}
        self.bad = processes.total(self.bad.int()).bool()

    def statistics(self) -> Bounds:
        """Bounds of the statistics of all channels."""
        borders = [self._counts[side] for side in SIDES]
        return between_edges.bounds(borders, self._counts["C"], self.edges)

    def profile(self, channels: Tensor, distance: int) -> Bounds:
        """Bounds of the statistics of the lines at a distance from each side, above 0."""
        rings = [self._rings[side, distance][channels] for side in SIDES]
        centre = between_edges.coarse(self._counts["C"][channels].long())
        return between_edges.bounds(rings, centre, self._coarse[channels])

    @property
    def depth(self) -> int:
        """Distances that have a profile, the border's own included."""
        return 1 + len(self._rings) // 4

    def below_display(self, region: str, channels: Tensor) -> tuple[Tensor, int]:
        """Values of a region (T, B, L, R or C) below the inner ends of the histogram's bins."""
        found = self._counts[region][channels].long()
        part = self.edges[channels], self.low[channels], self.high[channels]
        return between_edges.below_display(found, *part), int(found[0].sum())


def _line(maps: Tensor, side: str, distance: int) -> Tensor:
    dim, end = (2, side == "B") if side in "TB" else (3, side == "R")
    return _rows(maps.select(dim, -1 - distance if end else distance))


def _rows(part: Tensor) -> Tensor:
    """(N, C, ...) -> (C, N * ...)."""
    return part.transpose(0, 1).reshape(part.shape[1], -1)
