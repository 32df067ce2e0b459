"""Thumbnails of image tensors for reports."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image
from torch import Tensor

SIDE = 72


def thumbnail(image: Tensor) -> str:
    """Return a base64 PNG of an image (C, H, W), scaled from its own range of values.

    Returns an empty string unless the image has 1 or 3 channels.
    """
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        return ""
    values = image.detach().float().cpu()
    low, high = values.amin(), values.amax()
    bytes_ = ((values - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    pixels = bytes_.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.quantize(64).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
