"""Which sites' maps depend on the images, told by their values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_pan.instrument.processes import Processes

INDEPENDENT = "its output does not depend on the images"


@dataclass
class _Maps:
    """Maps of one site, or the images, in the order they came in."""

    first: Tensor | None = None
    """The first map, while all others are equal to it; else None."""
    count: int = 0

    def add(self, maps: Tensor) -> None:
        """Add maps, (N, ...)."""
        if self.count == 0 and len(maps):
            self.first = maps[0].detach().clone()
        if self.first is not None and not _all_equal(maps, self.first):
            self.first = None
        self.count += len(maps)

    def digest(self) -> str:
        """Return a digest of the map that all are equal to; empty if they differ."""
        if self.first is None:
            return ""
        values = self.first.cpu().contiguous().flatten().view(torch.uint8)
        return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def _all_equal(maps: Tensor, first: Tensor) -> bool:
    if maps.shape[1:] != first.shape or not torch.equal(maps[-1], first):
        return False
    return bool((maps == first).all())


class Dependence:
    """Compares each site's maps over the images; cheap where they differ."""

    def __init__(self) -> None:
        self._images = _Maps()
        self._sites: dict[str, _Maps] = {}
        self._shared: dict[str, bool] = {}
        """By site that gave one map in each call: whether one was for several images."""

    def see_images(self, images: Tensor) -> None:
        """Add images (N, C, H, W) that the passes run on."""
        self._images.add(images)

    def add(self, site: str, maps: Tensor, images: int) -> None:
        """Add a site's maps (N, C, H, W) of a pass over so many images."""
        is_known = site in self._sites
        self._sites.setdefault(site, _Maps()).add(maps)
        if len(maps) > 1:
            self._shared.pop(site, None)
        elif not is_known or site in self._shared:
            self._shared[site] = self._shared.get(site, False) or images > 1

    def independent(self, processes: Processes) -> list[str]:
        """Return the sites whose maps are equal on all images, or are one map for several images.

        No site is among them if the images themselves are equal.
        """
        mine = {
            name: (maps.count, maps.digest(), self._shared.get(name))
            for name, maps in self._sites.items()
            if maps.count
        }
        met = processes.meet("dependence", (self._images.count, self._images.digest(), mine))
        images = {digest for count, digest, _ in met if count}
        if len(images) == 1 and "" not in images:
            return []
        found = []
        for name in dict.fromkeys(name for _, _, sites in met for name in sites):
            counts, digests, shared = zip(
                *(sites[name] for _, _, sites in met if name in sites), strict=True
            )
            is_equal = sum(counts) > 1 and len(set(digests)) == 1 and digests[0]
            if is_equal or (any(shared) and None not in shared):
                found.append(name)
        return found
