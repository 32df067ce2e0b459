"""Outputs of the original pass, kept so that comparisons need not run it again."""

from __future__ import annotations

import torch

from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import Pick, Reading
from pytest_pan.probes.scores import FormCheck
from pytest_pan.records.errors import InputError


class OriginalOutputs:
    """Outputs of all images, limited to ``memory`` bytes.

    :attr:`is_complete` becomes false permanently if they do not fit or an output cannot be read.
    A probe that needs them then runs the pass again, and any read error is raised there.
    """

    def __init__(self, memory: int, task: str, pick: Pick | None) -> None:
        self._memory, self._task, self._pick = memory, task, pick
        self._held = 0
        self._by_first: dict[int, Reading] = {}
        self.is_complete = True
        self.scores = FormCheck(task)
        """What the class scores of all images seen are, also of those not kept."""

    def keep(self, first: int, images: int, output: object) -> None:
        """Store the output of ``images`` images from index ``first`` on, unless already stored."""
        if first in self._by_first:
            return
        try:
            reading = outputs.read(output, self._task, self._pick)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # may come from a user function; raised again when the output is needed
            self.drop()
            return
        self.scores.add(reading)
        self._held += outputs.size(reading)
        if not self.is_complete or self._held > self._memory or len(reading) != images:
            self.drop()
            return
        self._by_first[first] = reading

    def drop(self) -> None:
        """Discard all outputs."""
        self._by_first.clear()
        self.is_complete = False

    def take(self, first: int, images: int) -> Reading:
        """Return the outputs of ``images`` images from index ``first`` on.

        Raises :class:`InputError` if some are missing.
        """
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
