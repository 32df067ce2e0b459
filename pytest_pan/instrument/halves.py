"""Splitting of batches for which the device has no memory."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Halves:
    """Runs work on batches, in halves if the device runs out of memory.

    ``size`` is the number of images to which batches were cut, and to which later ones are cut at
    once; None as long as whole batches fit.
    """

    def __init__(self) -> None:
        self.size: int | None = None

    def run(self, images: int, work: Callable[[range], None]) -> None:
        """Call ``work`` with the places of all images, in order.

        After an out-of-memory error the same places come again, in two parts. Raises what ``work``
        raises, and the out-of-memory error if a single image does not fit.
        """
        if not images:
            return
        size = self.size or images
        for start in range(0, images, size):
            self._attempt(range(start, min(start + size, images)), work)

    def _attempt(self, part: range, work: Callable[[range], None]) -> None:
        try:
            work(part)
            return
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
        # outside the except block, so that the frames that hold tensors are gone
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        half = (len(part) + 1) // 2
        self.size = min(self.size or half, half)
        self._attempt(part[:half], work)
        self._attempt(part[half:], work)
