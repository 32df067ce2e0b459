"""Masks of the unpadded part of a tensor."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pytest_pan.instrument.sites import Pad


def unpadded(shape: Iterable[int], pad: Pad) -> Tensor:
    """Return which cells of a tensor of this shape are not padding: bool.

    It takes no memory in dimensions without padding.
    """
    sizes = tuple(shape)
    mask = torch.ones((1,) * len(sizes), dtype=torch.bool, device="cpu")
    for dim, size in enumerate(sizes):
        first, last = (max(amount, 0) for amount in pad.amounts[2 * dim : 2 * dim + 2])
        if first or last:
            line = torch.arange(size, device="cpu")
            line = (line >= first) & (line < size - last)
            mask = mask & line.view([-1 if each == dim else 1 for each in range(len(sizes))])
    return mask.expand(sizes)


def box(mask: Tensor) -> tuple[int, ...] | None:
    """Return the number of false cells at both ends of each dimension around a box of true ones.

    None if the true cells are no box.
    """
    small = mask[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in mask.stride())]
    amounts: list[int] = []
    cells = 1
    for dim in range(small.dim()):
        others = [each for each in range(small.dim()) if each != dim]
        places = (small.sum(others) if others else small).nonzero().flatten()
        if not len(places):
            return None
        first, last = int(places[0]), int(places[-1])
        amounts += [first, small.shape[dim] - 1 - last]
        cells *= last - first + 1
    return tuple(amounts) if int(small.sum()) == cells else None
