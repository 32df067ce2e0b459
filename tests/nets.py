"""Planted networks: convolutions whose padding awareness is known by construction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_pan.records.neurons import PAN_TYPES

LOOKS_AT = {"T": (0, 1), "B": (2, 1), "L": (1, 0), "R": (1, 2)}
"""The kernel cell through which a 3x3 filter sees the neighbour on a side."""


def bright_images(count: int = 6, size: int = 16, seed: int = 0) -> Tensor:
    """Images (N, 1, size, size) of values from 1 to 1.2: zeros occur in the padding only."""
    generator = torch.Generator().manual_seed(seed)
    return 1 + 0.2 * torch.rand(count, 1, size, size, generator=generator)


def striped_images(count: int = 6, size: int = 16) -> Tensor:
    """Bright images with zero rows and columns inside: edges just like those of the padding."""
    images = bright_images(count, size)
    images[:, :, 4::4] = 0
    images[:, :, :, 4::4] = 0
    return images


def conv(kernel: Tensor, *, padding: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution with these filters: kernel (C_out, C_in, k, k)."""
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding=padding, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(kernel)
    return layer


def missing(sides: str) -> Tensor:
    """A filter (1, 3, 3) that sums, negated, the neighbours on these sides.

    On bright images each neighbour adds -1 to -1.2, and nothing where it is padding: so on those
    borders, and there only, the output lies above everything in the centre.
    """
    kernel = torch.zeros(1, 3, 3)
    for side in sides:
        kernel[(0, *LOOKS_AT[side])] = -1
    return kernel


def fifteen_types() -> nn.Conv2d:
    """Fifteen channels: channel i is a PAN of ``PAN_TYPES[i]`` and of nothing else."""
    return conv(torch.stack([missing(kind) for kind in PAN_TYPES]))


def second_row() -> nn.Sequential:
    """The paper's Figure 8: the second layer sees the top padding through the first one's PAN.

    The first layer's outputs are 0 in its top row and -1 to -1.2 below; the second passes on the
    row above, so its first row (padding) and its second (the PAN's row) are both 0.
    """
    above = torch.zeros(1, 1, 3, 3)
    above[0, 0, 0, 1] = 1
    return nn.Sequential(conv(missing("T")[None]), conv(above))
