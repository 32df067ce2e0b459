"""Outputs of the original pass, kept so that no comparison has to run that pass again."""

from __future__ import annotations

import torch

from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import Pick, Reading
from pytest_pan.records.errors import InputError


class OriginalOutputs:
    """The readings of all images, within ``memory`` bytes.

    :attr:`is_complete` turns false for good when they do not fit, and when an output cannot be
    read: whoever needs them runs the pass again then, and meets the error there.
    """

    def __init__(self, memory: int, task: str, pick: Pick | None) -> None:
        self._memory, self._task, self._pick = memory, task, pick
        self._held = 0
        self._by_first: dict[int, Reading] = {}
        self.is_complete = True

    def keep(self, first: int, images: int, output: object) -> None:
        """Keep the output of images from number ``first`` on, if that has not been done."""
        if not self.is_complete or first in self._by_first:
            return
        try:
            reading = outputs.read(output, self._task, self._pick)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # a user's function among others: raised again where it is needed
            self.drop()
            return
        self._held += outputs.size(reading)
        if self._held > self._memory or len(reading) != images:
            self.drop()
            return
        self._by_first[first] = reading

    def drop(self) -> None:
        """Let go of all of it."""
        self._by_first.clear()
        self.is_complete = False

    def take(self, first: int, images: int) -> Reading:
        """Return the reading of so many images from number ``first`` on."""
        parts = []
        for start, reading in sorted(self._by_first.items()):
            low, high = max(first, start), min(first + images, start + len(reading))
            if low < high:
                parts.append(outputs.part(reading, low - start, high - start))
        if sum(map(len, parts)) != images:
            raise InputError(
                "the images changed between the first and the second pass",
                where="images",
                got=f"no output of the original pass for images {first} to {first + images - 1}",
                next="Let the source give the same batches every time.",
            )
        return parts[0] if len(parts) == 1 else outputs.joined(parts)
