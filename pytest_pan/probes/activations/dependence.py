"""Which sites' maps depend on the images, told by their values."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_pan.instrument.processes import Processes
from pytest_pan.instrument.sites import ONE_MAP, module_of

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
        self._shared: dict[str, int] = {}
        """By site that gave one map in each call: the most images that one was for."""

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
            self._shared[site] = max(self._shared.get(site, 0), images)

    def reasons(self, processes: Processes) -> dict[str, str]:
        """Return the sites whose maps are not those of the images, with the reason.

        Their maps are equal on all images, or are one map for several images. One map
        for several images may still depend on them, as in a loop over images or a mean over the
        batch: the reason says so if it changes with the batch, or if a module gave as many maps as
        there are images. No site is among them if the images
        themselves are equal.
        """
        mine = {
            name: (maps.count, maps.digest(), self._shared.get(name))
            for name, maps in self._sites.items()
            if maps.count
        }
        met = processes.meet("dependence", (self._images.count, self._images.digest(), mine))
        images = {digest for count, digest, _ in met if count}
        if len(images) == 1 and "" not in images:
            return {}
        found: dict[str, str] = {}
        calls = Counter(module_of(name) for _, _, sites in met for name in sites)
        for name in dict.fromkeys(name for _, _, sites in met for name in sites):
            counts, digests, shared = zip(
                *(sites[name] for _, _, sites in met if name in sites), strict=True
            )
            is_equal = len(set(digests)) == 1 and bool(digests[0])
            if None not in shared and max(shared) > 1:
                is_loop = calls[module_of(name)] >= len(digests) * max(shared)
                found[name] = INDEPENDENT if is_equal and not is_loop else ONE_MAP
            elif is_equal and sum(counts) > 1:
                found[name] = INDEPENDENT
        return found
