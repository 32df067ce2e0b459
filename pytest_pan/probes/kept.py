"""Some of the images of the original pass, for probes that run their own passes on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.probes.observer import Context, Part


@dataclass
class KeptImages:
    """At most ``most`` images, evenly spaced over the source if it reports its number of images;
    else the first ones.
    """

    context: Context
    most: int
    _images: list[Tensor] = field(default_factory=list)
    _units: list[Tensor] = field(default_factory=list)
    _labels: list[Tensor | None] = field(default_factory=list)
    _last: int = -1

    def add(self, part: Part) -> None:
        """Keep the chosen images of a part; parts come in order."""
        chosen = [place for place in range(len(part)) if self._is_chosen(part.first + place)]
        if not chosen:
            return
        self._images.append(part.images[chosen].cpu())
        self._units.append(self.context.units.of(part.first, len(part))[chosen])
        self._labels.append(None if part.labels is None else part.labels[chosen].cpu())

    def _is_chosen(self, index: int) -> bool:
        expected = self.context.expected
        if expected is None or expected <= self.most:
            return index < self.most
        return index * self.most // expected != (index - 1) * self.most // expected

    def __len__(self) -> int:
        return sum(map(len, self._images))

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), on the CPU."""
        return torch.cat(self._images)

    @property
    def units(self) -> Tensor:
        """Unit of sampling of each image: (N,)."""
        return torch.cat(self._units)

    @property
    def labels(self) -> Tensor | None:
        """(N,); None unless all kept images have labels."""
        known: Sequence[Tensor] = [each for each in self._labels if each is not None]
        return torch.cat(list(known)) if known and len(known) == len(self._labels) else None
