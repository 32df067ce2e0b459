"""Small classifiers whose predictions change easily, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def network(padding_mode: str = "zeros", stride: int = 2) -> nn.Sequential:
    """A network of total stride ``stride ** 2`` whose classes lie close together."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride, padding=1, padding_mode=padding_mode),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride, padding=1, padding_mode=padding_mode),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        Centred(),
    ).double()


class Centred(nn.Module):
    """Makes small differences of eight features decide among eight classes."""

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(1, keepdim=True)
        return torch.sin(200 * (features - mean))


def noise(count: int = 40, side: int = 16) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)).double()


def tops(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        top: Tensor = model.eval()(images).argmax(1)
        return top
