"""Batches in halves, where the device has no memory for the whole."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Halves:
    """Runs work on parts of batches; a part that the device has no memory for, in two halves.

    ``size``: the number of images that went through after that happened, which all later batches
    are cut to; None while it did not.
    """

    def __init__(self) -> None:
        self.size: int | None = None

    def run(self, images: int, work: Callable[[range], None]) -> None:
        """``work`` for all of so many images, in order; it may see the first of a part again.

        Raises what ``work`` raises, and the device's own error where one image is too many.
        """
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
        # here, outside the except block, the frames that hold tensors are gone
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        half = (len(part) + 1) // 2
        self.size = min(self.size or half, half)
        self._attempt(part[:half], work)
        self._attempt(part[half:], work)
