"""Rolls and resizing of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Roll:
    """Input transform that rolls images down and to the right by a number of pixels."""

    pixels: int

    @property
    def name(self) -> str:
        return f"rolled by {self.pixels}"

    def __call__(self, images: Tensor) -> Tensor:
        return torch.roll(images, (self.pixels, self.pixels), (2, 3))


@dataclass(frozen=True, slots=True)
class Resized:
    """Input transform that resizes images to a height and width, bilinearly."""

    size: tuple[int, int]

    @property
    def name(self) -> str:
        return "resized to {}x{}".format(*self.size)

    def __call__(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.size, mode="bilinear", antialias=True)


@dataclass(eq=False, slots=True)
class RandomRoll:
    """Input transform that rolls each image by offsets of its own, uniform in {0..most-1}^2.

    They depend on the seed and the index of the image, not on its batch.
    """

    most: int
    seed: int
    first: int = field(default=0)
    """Index of the first image of the next call."""

    @property
    def name(self) -> str:
        return "rolled at random"

    def __call__(self, images: Tensor) -> Tensor:
        offsets = (self.offsets(self.first + place) for place in range(len(images)))
        rolled = [torch.roll(image, by, (1, 2)) for image, by in zip(images, offsets, strict=True)]
        return torch.stack(rolled)

    def offsets(self, index: int) -> tuple[int, int]:
        """Return the rows and columns by which an image is rolled."""
        rows, columns = np.random.default_rng((self.seed, index)).integers(0, self.most, 2).tolist()
        return rows, columns
