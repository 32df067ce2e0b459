"""PIL images as RGB images of 8 bits and as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pytest_pan.records.errors import InputError

Transform = Callable[[Any], Tensor]
"""What makes a tensor (C, H, W) of a picture."""

_NO_WHITE = ("I", "F")
"""Modes of 32 bits, for which no value is defined as white."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture to RGB of 8 bits.

    Pictures of 16 bits are scaled to 8; all other modes are converted as torchvision's loader does,
    by ``convert("RGB")``. The EXIF orientation is ignored, as torchvision does. Raises
    :class:`InputError` for a mode that cannot be converted.
    """
    image = _eight_bits(image)
    try:
        return (image.convert("LA") if image.mode == "La" else image).convert("RGB")
    except ValueError as error:
        raise _refused(image.mode, f"Pillow cannot convert it to RGB: {error}") from error


def to_tensor(image: Image.Image) -> Tensor:
    """Convert a picture to a float tensor (C, H, W) in [0, 1], as torchvision's ToTensor does.

    Grey pictures (modes L, 1 and those of 16 bits) have one channel, all others three. Raises
    :class:`InputError` for a mode that cannot be converted.
    """
    image = _eight_bits(image)
    image = image.convert("L") if image.mode in ("1", "L") else to_rgb(image)
    pixels = np.array(image, np.uint8)
    planes = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return planes.contiguous().float().div(255)


def untransformed(shape: tuple[int, ...]) -> str:
    """Say that pictures of this shape (C, H, W), if it is known, went through no transform."""
    size = f", {sizes([shape])}" if shape else ""
    return f"none: pixels in [0, 1]{size} as they are"


def sizes(shapes: Iterable[tuple[int, ...]]) -> str:
    """List shapes as 3x32x32, 3x64x48."""
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def different_sizes(shapes: Iterable[tuple[int, ...]], where: str) -> InputError:
    """Make the error of pictures that have no transform and several sizes."""
    return InputError(
        "pictures of different sizes without a transform",
        where=where,
        got=sizes(list(shapes)[:3]),
        next="Return the transform that the model is evaluated with from the fixture "
        "pan_transform; it resizes and crops them to one size.",
    )


@dataclass(frozen=True, slots=True)
class FromRGB:
    """A transform that gets every picture as RGB."""

    transform: Transform

    def __call__(self, image: Image.Image) -> Tensor:
        return self.transform(to_rgb(image))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale a grey picture of 16 bits to mode L, by 257; return any other as it is."""
    sixteen = image.mode.startswith("I;16")
    if image.mode == "I" and image.format == "PNG":  # older Pillow; PNG has 16 bits at most
        sixteen = True
    if sixteen:
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode in _NO_WHITE or image.mode.startswith("I;"):
        raise _refused(image.mode, "it does not define which value is white")
    return image


def _refused(mode: str, why: str) -> InputError:
    return InputError(
        f"a picture of mode {mode}: {why}",
        got=f"mode {mode}",
        allowed="modes that convert to RGB, and grey of 16 bits",
        next="Save it as RGB or as grey of 8 or 16 bits.",
    )
