"""Models made of a function, and what the tap sees of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pytest_pan.instrument.gate import borrowed
from pytest_pan.instrument.tap import ConvCall, Tap, tapped

IMAGES = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1))


class Calls(nn.Module):
    """A model whose forward pass is the function; its children are those given."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def conv(**settings: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, settings.pop("kernel", 3), **settings)


def seen(
    model: nn.Module,
    images: Tensor = IMAGES,
    passed_over: dict[str, str] | None = None,
    *,
    precision: str = "float32",
) -> list[ConvCall]:
    """The convolutions of one forward pass through the gate."""
    calls: list[ConvCall] = []
    heard = {} if passed_over is None else passed_over
    tap = Tap(model, calls.append, heard.__setitem__)
    with borrowed(model, seed=0, precision=precision), tapped(tap):
        tap.begin(len(images) if images.dim() == 4 else 1)
        model(images)
    return calls


def names(model: nn.Module, images: Tensor = IMAGES) -> list[str]:
    return [call.name for call in seen(model, images)]
