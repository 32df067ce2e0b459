"""Per-plan counters, updated batch by batch and mergeable across processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.probes import outputs
from pytest_pan.probes.accuracy import correct, count_top5_correct
from pytest_pan.probes.influence.thumbnails import thumbnail
from pytest_pan.probes.outputs import Reading
from pytest_pan.stats import odds

ByImage = dict[int, float]
"""One value per image, by its index."""


@dataclass
class Tally:
    """Counters of one plan; ``pictures``: whether the most affected images get thumbnails."""

    pictures: bool = False
    sums: odds.ClassSums = field(default_factory=odds.ClassSums)
    affected: odds.Affected = field(default_factory=odds.Affected)
    divergences: ByImage = field(default_factory=dict)
    """Jensen-Shannon divergence of each image's class probabilities, in bits."""
    changes: ByImage = field(default_factory=dict)
    """Number of changed predictions per image."""
    losses: ByImage = field(default_factory=dict)
    """Per image, 1 if the prediction becomes wrong under the plan, -1 if it becomes right."""
    flips: int | None = None
    top5: int | None = None
    correct: int = 0
    top5_correct: int = 0
    to_right: int = 0
    to_wrong: int = 0
    rings: tuple[Tensor, Tensor] | None = None
    skips: dict[str, str] = field(default_factory=dict)
    """Sites whose padding could not be swapped, with the reason."""

    def add(
        self,
        before: Reading,
        after: Reading,
        images: Tensor,
        labels: Tensor | None,
        groups: Tensor,
        indices: Sequence[int],
    ) -> None:
        """Count images of one batch, given outputs without and with the plan.

        ``groups`` are the images' groups for subsamples (N,), ``indices`` their numbers.
        """
        shares = outputs.probabilities(after)
        if shares is not None:
            self.sums.add(shares, groups)
        if (apart := outputs.divergences(before, after)) is not None:
            self.divergences |= zip(indices, apart.tolist(), strict=True)
        self._add_flips(indices, before, after)
        self._add_correct(indices, correct(before, labels), correct(after, labels))
        self.top5_correct += count_top5_correct(after, labels)
        self._add_samples(before, after, images, labels, indices)

    def merge(self, other: Tally) -> None:
        """Add the counters of other images."""
        self.sums.merge(other.sums)
        self.affected.merge(other.affected)
        self.divergences |= other.divergences
        self.changes |= other.changes
        self.losses |= other.losses
        self.flips = _sum(self.flips, other.flips)
        self.top5 = _sum(self.top5, other.top5)
        self.correct += other.correct
        self.top5_correct += other.top5_correct
        self.to_right += other.to_right
        self.to_wrong += other.to_wrong
        self._add_rings(other.rings)
        self.skips |= other.skips

    def _add_flips(self, indices: Sequence[int], before: Reading, after: Reading) -> None:
        changed = outputs.flips(before, after)
        if changed is not None:
            self.flips = _sum(self.flips, int(changed.sum()))
            self.changes |= zip(indices, changed.tolist(), strict=True)
        lost = outputs.top5_lost(before, after)
        if lost is not None:
            self.top5 = _sum(self.top5, int(lost.sum()))
        self._add_rings(outputs.by_distance(before, after))

    def _add_rings(self, rings: tuple[Tensor, Tensor] | None) -> None:
        if rings is not None:
            earlier = self.rings or tuple(torch.zeros_like(part) for part in rings)
            self.rings = (earlier[0] + rings[0], earlier[1] + rings[1])

    def _add_correct(
        self, indices: Sequence[int], before: Tensor | None, after: Tensor | None
    ) -> None:
        if before is None or after is None:
            return
        self.losses |= zip(indices, (before.int() - after.int()).tolist(), strict=True)
        self.correct += int(after.sum())
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
        """Return the share of pixels with an unchanged class, by distance to the border."""
        if self.rings is None:
            return ()
        kept, pixels = self.rings
        has_pixels = pixels > 0
        return tuple((kept[has_pixels].double() / pixels[has_pixels]).tolist())


def in_order(values: ByImage) -> Tensor:
    """Return the values in the order of the images: (N,) float64."""
    return torch.tensor([values[index] for index in sorted(values)], dtype=torch.float64)


def _sum(a: int | None, b: int | None) -> int | None:
    return (a or 0) + (b or 0) if a is not None or b is not None else None
