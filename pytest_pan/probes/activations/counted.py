"""Counts of a site's values between fixed edges, in memory independent of the image count."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_pan.instrument.processes import Processes
from pytest_pan.records.neurons import SIDES
from pytest_pan.records.sites import Site
from pytest_pan.stats import counts as slot_counts
from pytest_pan.stats import lookup
from pytest_pan.stats.counts import COARSE, Bounds
from pytest_pan.stats.lookup import Lookup

PROFILE_DEPTH = 4
"""Lines in a distance profile, counted from the border line inwards."""

_LONG = 2**31
_REGIONS = "TBLRC"


class Counted:
    """Counts of border and centre values; inner lines use every ``COARSE``-th edge only.

    Counts between the same edges merge by addition. ``edges`` (C, E); ``low`` and ``high`` (C,) are
    the range of the histograms.
    """

    def __init__(self, site: Site, edges: Tensor, low: Tensor, high: Tensor) -> None:
        self.site, self.edges, self.low, self.high = site, edges, low, high
        self.images = 0
        self.bad = torch.zeros(len(edges), dtype=torch.bool, device=edges.device)
        self.depth = min(PROFILE_DEPTH, min(site.map) // 2)
        """Number of distances in the profile, distance 0 included."""
        self._coarse = edges[:, ::COARSE].contiguous()
        channels, slots = len(edges), edges.shape[1] + 1
        self._counts = edges.new_zeros((len(_REGIONS), channels, slots), dtype=torch.int32)
        shape = 4 * (self.depth - 1), channels, self._coarse.shape[1] + 1
        self._rings = edges.new_zeros(shape, dtype=torch.int32)
        self._lookup = Lookup(edges) if lookup.worthwhile(edges) else None

    def add(self, maps: Tensor) -> None:
        """Count the maps of some images, (N, C, H, W): all of them, or none if it raises."""
        self._widen(self.images + len(maps))
        if self._lookup is not None:
            self.bad |= self._lookup.count(maps, self._counts, self._rings, COARSE)
        else:
            self._search(maps)
        self.images += len(maps)

    def _search(self, maps: Tensor) -> None:
        bad = ~torch.isfinite(maps).all(3).all(2).all(0)
        parts = [*(_line(maps, side, 0) for side in SIDES), _rows(maps[:, :, 1:-1, 1:-1])]
        found = [slot_counts.count_in_slots(part, self.edges) for part in parts]
        rings = [
            slot_counts.count_in_slots(_line(maps, side, distance), self._coarse)
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
        """Sum the counts over all processes."""
        self.images = int(processes.total(torch.tensor(self.images)))
        self._widen(self.images)
        self._counts = processes.total(self._counts)
        self._rings = processes.total(self._rings)
        self.bad = processes.total(self.bad.int()).bool()

    def statistics(self) -> Bounds:
        """Return bounds on the statistics of all channels."""
        *borders, centre = self._counts
        return slot_counts.bounds(borders, centre, self.edges)

    def profile(self, channels: Tensor, distance: int) -> Bounds:
        """Return bounds on the statistics of the lines at ``distance`` > 0 from each side."""
        first = 4 * (distance - 1)
        rings = [ring[channels] for ring in self._rings[first : first + 4]]
        centre = slot_counts.coarsen(self._counts[-1][channels].long())
        return slot_counts.bounds(rings, centre, self._coarse[channels])

    def below_bin_edges(self, region: str, channels: Tensor) -> tuple[Tensor, int]:
        """Count a region's values (T, B, L, R or C) below each inner bin edge of the histogram.

        Returns (P, BINS - 1) and the region's number of values per channel.
        """
        found = self._counts[_REGIONS.index(region)][channels].long()
        part = self.edges[channels], self.low[channels], self.high[channels]
        return slot_counts.below_bin_edges(found, *part), int(found[0].sum())


def _line(maps: Tensor, side: str, distance: int) -> Tensor:
    dim, end = (2, side == "B") if side in "TB" else (3, side == "R")
    return _rows(maps.select(dim, -1 - distance if end else distance))


def _rows(part: Tensor) -> Tensor:
    """(N, C, ...) -> (C, N * ...)."""
    return part.transpose(0, 1).reshape(part.shape[1], -1)
