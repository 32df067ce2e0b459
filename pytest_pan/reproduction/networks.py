"""The paper's networks with torchvision's weights, where these are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision import models
from torchvision.transforms import v2 as transforms

from pytest_pan.inputs.models import load_model
from pytest_pan.records.errors import InputError


@dataclass(frozen=True, slots=True)
class Missing:
    """Weights that are not on this machine."""

    file: str
    url: str
    folder: Path


def network(name: str, weights: Path | None, *, download: bool) -> nn.Module | Missing:
    """Return torchvision's network ``name`` with its ImageNet weights, or where these are missing.

    ``weights``: a state dict file; None looks where torchvision keeps downloads. Nothing is
    downloaded unless ``download``. Raises :class:`InputError` for a file that does not fit.
    """
    entry = models.get_model_weights(name).IMAGENET1K_V1
    file = Path(urlparse(entry.url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if weights is None and not (folder / file).exists() and not download:
        return Missing(file, entry.url, folder)
    parts = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    net: nn.Module = models.get_model(name, weights=None if weights else entry, **parts)
    if weights is None:
        return net
    try:
        net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:
        raise InputError(
            "weights that cannot be loaded",
            where=f"--weights {name}={weights}",
            got=f"{type(error).__name__}: {error}",
            allowed=f"a state dict of torchvision.models.{name}, such as {file}",
        ) from error
    return net


def other(spec: str) -> nn.Module:
    """Return the network of ``"module:callable"``."""
    return load_model(spec)


def names() -> list[str]:
    """Return ImageNet's class names, in the order of the outputs."""
    found: list[str] = models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return found


def preset() -> transforms.Compose:
    """Return torchvision's transform of these weights: 256, the middle 224, ImageNet's mean."""
    return transforms.Compose(
        [
            transforms.ToImage(),
            transforms.Resize(256, antialias=True),
            transforms.CenterCrop(224),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
