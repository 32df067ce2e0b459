"""The transform that a model was trained with, where the model says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import nn

from pytest_pan.inputs.pictures import Transform

_CROP_MODES = ("center", "squash")
_TIMM = ("pretrained_cfg", "default_cfg")


def transform_of(model: nn.Module, weights: object = None) -> tuple[Transform, str] | None:
    """Return the evaluation transform that a model or its weights name, and what it does.

    Sources, in this order: timm's ``pretrained_cfg`` or ``default_cfg`` on the model, torchvision
    ``weights`` (anything with a callable ``transforms``). None where neither says.
    """
    for name in _TIMM:
        config = getattr(model, name, None)
        facts = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
        if (steps := _Steps.from_timm(facts)) is not None:
            return steps.build(), f"timm {name}: {steps}"
    build = getattr(weights, "transforms", None)
    if not callable(build):
        return None
    preset: Transform = build()
    return preset, f"torchvision {_weights_name(weights)}: {_preset_text(preset)}"


@dataclass(frozen=True, slots=True)
class _Steps:
    """Resize, crop and normalise, as timm evaluates."""

    channels: int
    crop: tuple[int, int]
    resize: tuple[int, int]
    squash: bool
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_timm(cls, facts: Mapping[str, Any]) -> _Steps | None:
        """Read timm's configuration; None where it is none or means something else."""
        try:
            channels, *size = (int(length) for length in facts["input_size"])
            share = float(facts.get("crop_pct") or 0.875)
            mean, std = (tuple(map(float, facts[key])) for key in ("mean", "std"))
        except (KeyError, TypeError, ValueError):
            return None
        mode = facts.get("crop_mode") or "center"
        fits = len(size) == 2 and min(size) > 0 and channels in (1, 3) and share > 0
        if not fits or mode not in _CROP_MODES or not len(mean) == len(std) == channels:
            return None
        height, width = size
        large = math.floor(height / share), math.floor(width / share)
        how = str(facts.get("interpolation") or "bilinear")
        return cls(channels, (height, width), large, mode == "squash", how, mean, std)

    def build(self) -> Transform:
        from torchvision import transforms

        steps = [
            _Resize(self.resize, self.squash, self.interpolation),
            transforms.CenterCrop(self.crop),
            *([transforms.Grayscale()] if self.channels == 1 else []),
            transforms.ToTensor(),
            transforms.Normalize(self.mean, self.std),
        ]
        compose: Transform = transforms.Compose(steps)
        return compose

    def __str__(self) -> str:
        squash = " without keeping the ratio" if self.squash else ""
        return f"resize {_size(self.resize)}{squash}, crop {_size(self.crop)}, normalise"


@dataclass(frozen=True, slots=True)
class _Resize:
    """Resize a picture to cover a size, or exactly to it."""

    size: tuple[int, int]
    exact: bool
    interpolation: str

    def __call__(self, image: Image.Image) -> Image.Image:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import resize

        known = {mode.value: mode for mode in InterpolationMode}
        how = known.get(self.interpolation, InterpolationMode.BILINEAR)
        height, width = self.size
        if self.exact:
            size = [height, width]
        elif height == width:
            size = [height]  # of the shorter edge
        else:
            ratio = min(image.height / height, image.width / width)
            size = [round(image.height / ratio), round(image.width / ratio)]
        resized: Image.Image = resize(image, size, how)
        return resized


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def _weights_name(weights: object) -> str:
    """Return the name of weights, such as ResNet50_Weights.IMAGENET1K_V2."""
    name = getattr(weights, "name", "")
    return f"{type(weights).__name__}.{name}" if name else type(weights).__name__


def _preset_text(preset: object) -> str:
    """Say what a torchvision preset does, by its attributes."""
    words = []
    for name in ("resize", "crop"):
        size = getattr(preset, f"{name}_size", None)
        if isinstance(size, list | tuple):
            size = "x".join(str(length) for length in size)
        words += [f"{name} {size}"] if size else []
    words += ["normalise"] if getattr(preset, "mean", None) else []
    return ", ".join(words) or "its transforms()"
