"""Images larger than the network's input, for probes that move or enlarge what the network sees."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sized

from torch import Tensor
from torch.utils.data import DataLoader

from pytest_pan.inputs.images import Images
from pytest_pan.records.errors import InputError

MOST = 256
"""Images that are used; the rest are not read."""

_ALLOWED = "a tensor (N, C, H, W), a Dataset or a DataLoader of tensors"


class LargeImages:
    """Batches (N, C, H, W), of the first :data:`MOST` images; may be iterated more than once.

    A Dataset gives one image a batch, so that sizes may differ. ``groups`` is the number of the
    group of each image, if the data set has the attribute ``groups``, else None. Raises
    :class:`InputError`: for sources of files and pictures too, which would reach the network
    without its normalisation.
    """

    def __init__(self, given: object, *, seed: int) -> None:
        if isinstance(given, str | os.PathLike):
            raise _refused(type(given).__name__)
        if isinstance(given, Tensor) and given.dim() != 4:
            raise _refused(f"a tensor of shape {tuple(given.shape)}")
        if isinstance(given, Sized) and not isinstance(given, DataLoader) and not len(given):
            raise _refused("no image")
        self._images = Images(given, batch_size=1, seed=seed, keep_repeated=True)
        self.groups = self._images.groups

    def __iter__(self) -> Iterator[Tensor]:
        count = 0
        try:
            for images, _ in self._images:
                if self._images.facts()["transform"]:
                    raise _refused("PIL images")
                yield images[: MOST - count]
                count += len(images)
                if count >= MOST:
                    return
        finally:
            self._images.close()


def _refused(got: str) -> InputError:
    return InputError(
        "larger images",
        where="large_images",
        got=got,
        allowed=_ALLOWED,
        next="Normalise them as the network's input is, and leave them larger than it.",
    )
