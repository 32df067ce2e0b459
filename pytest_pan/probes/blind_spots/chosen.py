"""The images that are made small: a few of each unit of sampling, whatever their order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from pytest_pan.probes.observer import Context, Part


@dataclass(frozen=True, slots=True)
class Chosen:
    """One image."""

    index: int
    """Of the image, counted over the whole audit."""
    unit: int
    order: float
    """Random number in [0, 1), by the seed and the index."""
    image: Tensor
    """(C, H, W), on the CPU."""
    label: int | None


@dataclass
class ChosenImages:
    """At most ``most`` images: the first of each unit in random order, then the second of each...

    Images are let go as soon as enough others come before them. That loses none: further images
    only move it, and those of its unit that follow it, back. So the choice depends on the seed and
    on the units, not on the batches or on the number of images that the source reports.
    """

    context: Context
    most: int
    _kept: list[Chosen] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """Consider the images of a part."""
        units = self.context.units.of(part.first, len(part)).tolist()
        for place, unit in enumerate(units):
            index = part.first + place
            order = float(np.random.default_rng((self.context.settings.seed, index)).random())
            label = None if part.labels is None else int(part.labels[place])
            self._kept.append(Chosen(index, unit, order, part.images[place], label))
        self._kept = [
            each if each.index < part.first else replace(each, image=each.image.cpu().clone())
            for each in self._first()  # the new ones are copied, so that the batch can be freed
        ]

    def _first(self) -> list[Chosen]:
        """Return the images that come first, by their rank in the unit, then by their order."""
        ranks: dict[int, int] = {}
        ranked = []
        for each in sorted(self._kept, key=lambda one: one.order):
            rank = ranks.get(each.unit, 0)
            ranks[each.unit] = rank + 1
            ranked.append((rank, each.order, each.index, each))
        return [each for *_, each in sorted(ranked, key=lambda one: one[:3])[: self.most]]

    @property
    def images(self) -> list[Chosen]:
        """Return the chosen images in the order of their indices."""
        return sorted(self._kept, key=lambda one: one.index)
