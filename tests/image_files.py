"""Image files, whole and broken, and a transform that needs no torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def red(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)[None, :, :, 0] / 255).float()


def paint(path: Path, shade: int = 9, mode: str = "RGB", **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).convert(mode).save(path, **settings)
    return path


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, "jpeg")
    path.write_bytes(path.read_bytes()[:1500])
