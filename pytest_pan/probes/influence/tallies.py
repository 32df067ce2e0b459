"""What is counted of one plan while the batches go by; tallies of different images merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.probes import outputs
from pytest_pan.probes.influence.thumbnails import thumbnail
from pytest_pan.probes.outputs import Reading
from pytest_pan.stats import odds

ByBatch = list[tuple[int, Tensor]]
"""One value an image, (N,) a batch, with the number of its first image."""


@dataclass
class Tally:
    """One plan's counts. ``pictures``: whether the most affected images are kept to be shown."""

    pictures: bool = False
    sums: odds.ClassSums = field(default_factory=odds.ClassSums)
    affected: odds.Affected = field(default_factory=odds.Affected)
    changes: ByBatch = field(default_factory=list)
    """Predictions that change."""
    losses: ByBatch = field(default_factory=list)
    """1 for an image that the plan spoils, -1 for one that it corrects."""
    flips: int | None = None
    top5: int | None = None
    right: int = 0
    right5: int = 0
    to_right: int = 0
    to_wrong: int = 0
    rings: tuple[Tensor, Tensor] | None = None
    skips: dict[str, str] = field(default_factory=dict)
    """Sites whose padding could not be swapped."""

    def add(
        self,
        before: Reading,
        after: Reading,
        images: Tensor,
        labels: Tensor | None,
        drawn: Tensor,
        indices: Sequence[int],
    ) -> None:
        """Takes some images of one batch: outputs without and with the plan, bootstrap weights."""
        number = indices[0]
        shares = outputs.probabilities(after)
        if shares is not None:
            self.sums.add(shares, drawn)
        self._add_flips(number, before, after)
        self._add_right(number, right(before, labels), right(after, labels))
        self.right5 += right5(after, labels)
        self._add_samples(before, after, images, labels, indices)

    def merge(self, other: Tally) -> None:
        """Adds what was counted of other images."""
        self.sums.merge(other.sums)
        self.affected.merge(other.affected)
        self.changes += other.changes
        self.losses += other.losses
        self.flips = _sum(self.flips, other.flips)
        self.top5 = _sum(self.top5, other.top5)
        self.right += other.right
        self.right5 += other.right5
        self.to_right += other.to_right
        self.to_wrong += other.to_wrong
        self._add_rings(other.rings)
        self.skips |= other.skips

    def _add_flips(self, number: int, before: Reading, after: Reading) -> None:
        changed = outputs.flips(before, after)
        if changed is not None:
            self.flips = _sum(self.flips, int(changed.sum()))
            self.changes.append((number, changed))
        lost = outputs.top5_lost(before, after)
        if lost is not None:
            self.top5 = _sum(self.top5, int(lost.sum()))
        self._add_rings(outputs.by_distance(before, after))

    def _add_rings(self, rings: tuple[Tensor, Tensor] | None) -> None:
        if rings is not None:
            earlier = self.rings or tuple(torch.zeros_like(part) for part in rings)
            self.rings = (earlier[0] + rings[0], earlier[1] + rings[1])

    def _add_right(self, number: int, before: Tensor | None, after: Tensor | None) -> None:
        if before is None or after is None:
            return
        self.losses.append((number, before.int() - after.int()))
        self.right += int(after.sum())
        self.to_right += int((after & ~before).sum())
        self.to_wrong += int((before & ~after).sum())

    def _add_samples(
        self,
        before: Reading,
        after: Reading,
        images: Tensor,
        labels: Tensor | None,
        indices: Sequence[int],
    ) -> None:
        moved = outputs.distances(before, after).tolist()
        single = before.task == "classification"
        ours = outputs.predictions(before) if single else None
        theirs = outputs.predictions(after) if single else None
        for place, (index, distance) in enumerate(zip(indices, moved, strict=True)):
            data: object = None
            if self.affected.would_keep(index, distance):
                data = (
                    None if ours is None else int(ours[place]),
                    None if theirs is None else int(theirs[place]),
                    None if labels is None or labels.dim() != 1 else int(labels[place]),
                    thumbnail(images[place]) if self.pictures else "",
                )
            self.affected.add(index, distance, data)

    def by_distance(self) -> tuple[float, ...]:
        """Share of pixels whose class stays, by distance to the border."""
        if self.rings is None:
            return ()
        kept, pixels = self.rings
        there = pixels > 0
        return tuple((kept[there].double() / pixels[there]).tolist())


def in_order(values: ByBatch) -> Tensor:
    """All values in the order of the images: (N,)."""
    return torch.cat([part for _, part in sorted(values, key=lambda each: each[0])])


def right(reading: Reading, labels: Tensor | None) -> Tensor | None:
    """Which images are right: (N,) bool; None without labels or classes to compare."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return None
    return reading.logits.argmax(1).cpu() == labels.cpu()


def right5(reading: Reading, labels: Tensor | None) -> int:
    """Images whose label is among the five likeliest classes; 0 without labels to compare."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return 0
    logits = reading.logits.cpu()
    ahead = logits > logits.gather(1, labels.cpu()[:, None])
    return int((ahead.sum(1) < 5).sum())


def _sum(a: int | None, b: int | None) -> int | None:
    return (a or 0) + (b or 0) if a is not None or b is not None else None
