"""Border lines of each site with only its own padding swapped, computed in the original pass.

The PANs are not known before that pass ends. So the lines are computed for all channels, which
takes a small fraction of the pass, and those of the PANs are written into their maps later.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_pan.instrument.repad import Lines, NotSwappableError, repadded_lines
from pytest_pan.instrument.sites import why_not
from pytest_pan.instrument.tap import ConvCall


class OwnPadding:
    """Swapped border lines of all images, limited to ``memory`` bytes.

    :attr:`is_complete` becomes false permanently if they do not fit.
    """

    def __init__(self, mode: str, memory: int) -> None:
        self._mode, self._memory = mode, memory
        self._generator = torch.Generator()
        self._held = 0
        self._part: list[tuple[str, tuple[Lines, ...]]] = []
        self._by_site: dict[str, list[tuple[Lines, ...]]] = {}
        self._not_swappable: set[str] = set()
        self.images = 0
        self.is_complete = True

    def begin(self, first: int) -> None:
        """Start the pass over the images from index ``first`` on, which seeds the noise."""
        self._generator.manual_seed(first)
        self._part = []

    def see(self, call: ConvCall) -> None:
        """Compute the swapped border lines of a convolution of the original pass."""
        if not self.is_complete or why_not(call.kernel, call.pad, call.map):
            return
        try:
            lines = tuple(repadded_lines(call, None, self._mode, self._generator))
        except NotSwappableError:
            self._not_swappable.add(call.name)
            return
        self._part.append((call.name, lines))

    def end(self, images: int) -> None:
        """Finish the pass over ``images`` images."""
        for site, lines in self._part:
            self._held += sum(each.block.nbytes for each in lines)
            self._by_site.setdefault(site, []).append(lines)
        self._part = []
        self.images += images
        if self._held > self._memory:
            self.drop()

    def drop(self) -> None:
        """Discard all lines."""
        self._by_site.clear()
        self.is_complete = False

    def maps(self, site: str, maps: Sequence[Tensor], channels: Tensor) -> Tensor | None:
        """Return the site's maps of the channels with the swapped lines: (N, P, H, W).

        ``maps`` are the maps of the original pass, (n, C, H, W) for each batch. Returns None if
        there are none, or if the site's padding cannot be swapped.
        """
        if site in self._not_swappable or not maps:
            return None
        whole = torch.cat([batch[:, channels] for batch in maps])
        start = 0
        for lines in self._by_site.get(site, ()):
            count = len(lines[0].block) if lines else 0
            for each in lines:
                each.of(channels).write(whole[start : start + count])
            start += count
        return whole
