"""What a pass over the images has read, by number of the batch; mergeable over processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import accumulate, groupby
from typing import Any

from torch import Tensor

from pytest_pan.inputs.digests import combined, image_digests
from pytest_pan.inputs.loading import Loaded
from pytest_pan.records.audit import Skip

Batch = tuple[Tensor, Tensor | None]
"""Images (N, C, H, W), and labels (N,) or None."""


@dataclass
class Seen:
    """Digests, labels and counts of the batches of one pass; each dict is by number of the batch.

    With ``drops``, images whose digest was seen earlier in the pass are left out.
    """

    drops: bool = True
    read: dict[int, int] = field(default_factory=dict)
    """Images and broken files read, with those that were left out."""
    digests: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    labels: dict[int, list[int | None]] = field(default_factory=dict)
    skips: dict[int, tuple[Skip, ...]] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)
    """Images that were left out."""
    unlabelled: dict[int, str] = field(default_factory=dict)
    """Why labels are not used."""
    shapes: dict[tuple[int, ...], None] = field(default_factory=dict)
    """Shapes (C, H, W), the first one first."""
    pictures: dict[int, bool] = field(default_factory=dict)
    """Batches that came as PIL images."""

    def __post_init__(self) -> None:
        self._known: set[bytes] = set()
        self.places: tuple[int, ...] = ()
        """Places in their batch of the images that :meth:`add` returned last."""

    def add(self, number: int, loaded: Loaded) -> Batch:
        """Add a batch, and return what is to be used of it."""
        images, labels = loaded.images, loaded.labels
        count = len(images) if images.dim() else 0
        self.read[number] = count + len(loaded.skips)
        if loaded.skips:
            self.skips[number] = loaded.skips
        self.places = ()
        if not images.numel():
            return images, None
        places = tuple(range(count)) if loaded.places is None else loaded.places
        digests = image_digests(images)
        if self.drops and (keep := self._new(digests)) != list(range(count)):
            self.dropped[number] = count - len(keep)
            digests = tuple(digests[place] for place in keep)
            images, labels = images[keep], None if labels is None else labels[keep]
            places = tuple(places[place] for place in keep)
        self.places = places
        if digests:
            self._note(number, loaded, digests, labels)
        return images, labels

    def _new(self, digests: Iterable[bytes]) -> list[int]:
        """Return the places of the images that were not seen before in the pass."""
        places = []
        for place, digest in enumerate(digests):
            if digest not in self._known:
                self._known.add(digest)
                places.append(place)
        return places

    def _note(
        self, number: int, loaded: Loaded, digests: tuple[bytes, ...], labels: Tensor | None
    ) -> None:
        none: list[int | None] = [None] * len(digests)
        self.digests[number] = digests
        self.labels[number] = none if labels is None else labels.tolist()
        self.shapes.setdefault(tuple(loaded.images.shape[1:]))
        if loaded.unlabelled:
            self.unlabelled[number] = loaded.unlabelled
        if loaded.has_pictures:
            self.pictures[number] = True

    def merge(self, others: Iterable[Seen]) -> None:
        """Add what other processes have read."""
        for other in others:
            for each in fields(self):
                if each.name != "drops":
                    getattr(self, each.name).update(getattr(other, each.name))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first image (C, H, W); empty before there is one."""
        return next(iter(self.shapes), ())

    @property
    def used(self) -> int:
        """Number of images that were not left out."""
        return sum(map(len, self.digests.values()))

    def facts(self, first: int | None = None) -> dict[str, Any]:
        """Return the facts of the images, or of the ``first`` images only: whole batches."""
        numbers = sorted(self.digests)
        ends = accumulate(len(self.digests[number]) for number in numbers)
        taken = [n for n, end in zip(numbers, ends, strict=True) if first is None or end <= first]
        digests = [one for number in taken for one in self.digests[number]]
        labels = [label for number in taken for label in self.labels[number]]
        labelled = sum(label is not None for label in labels)
        last = None if first is None else max(taken, default=-1)
        dropped = sum(n for number, n in self.dropped.items() if last is None or number <= last)
        lengths = groupby(len(self.digests[number]) for number in taken)
        return {
            "count": len(set(digests)),
            "repeated": dropped + len(digests) - len(set(digests)),
            "digest": combined(digests),
            "labelled": labelled,
            "labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest() if labelled else "",
            "batches": ", ".join(f"{len(list(same))} of {length}" for length, same in lengths),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or not used, a sentence each."""
        return tuple(note for note in (self._repeats(), self._labels()) if note)

    def _repeats(self) -> str:
        repeated = self.facts()["repeated"]
        total = self.used + sum(self.dropped.values())
        if not repeated:
            return ""
        repeat, were = ("repeats another", "was") if repeated == 1 else ("repeat others", "were")
        end = f"and {were} left out" if self.drops else f"and {were} counted again"
        return f"{repeated} of {total} images {repeat} {end}"

    def _labels(self) -> str:
        if not self.unlabelled:
            return ""
        why = self.unlabelled[min(self.unlabelled)]
        count = sum(len(self.digests[number]) for number in self.unlabelled)
        which = "" if count == self.used else f" of {count} of {self.used} images"
        return f"labels{which} not used: {why}"
