"""Image files, whole and broken, and a transform that needs no torchvision."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def red(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)[None, :, :, 0] / 255).float()


def paint(path: Path, shade: int = 9, mode: str = "RGB", **settings: Any) -> Path:
    """Save a picture in which the red of the last row is a code of the path's last two parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0] = shade
    code = zlib.crc32("/".join(path.parts[-2:]).encode(errors="surrogateescape"))
    pixels[7, :, 0] = [60 * (code >> 2 * place & 3) for place in range(8)]
    Image.fromarray(pixels).convert(mode).save(path, **settings)
    return path


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, "jpeg")
    path.write_bytes(path.read_bytes()[:1500])
