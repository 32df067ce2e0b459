"""Values of a site's neurons, by region: samples for the statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pytest_pan.records.sites import Site


class Samples:
    """Raw outputs of one site, image after image, mergeable.

    Maps are copied, unless owned: the model's next layer may write to them.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.maps: list[Tensor] = []

    def add(self, output: Tensor, *, owned: bool = False) -> int:
        """Add a batch, (N, C, H, W) or (C, H, W), and return the number of bytes kept.

        It is copied unless ``owned``.
        """
        batch = (output if output.dim() == 4 else output[None]).detach()
        owned &= batch.is_contiguous()
        self.maps.append(batch if owned else batch.clone(memory_format=torch.contiguous_format))
        return self.maps[-1].nbytes

    def merge(self, other: Samples) -> None:
        """Append the other's images."""
        self.maps += other.maps

    @property
    def images(self) -> int:
        return sum(len(batch) for batch in self.maps)

    def line(self, side: str, distance: int, channels: Tensor | None = None) -> Tensor:
        """Return the line at a distance from a side, pooled over images: (C, N * length)."""
        dim, end = (2, side == "B") if side in "TB" else (3, side == "R")
        index = -1 - distance if end else distance
        lines = torch.cat([_of(batch.select(dim, index), channels) for batch in self.maps])
        return lines.transpose(0, 1).reshape(lines.shape[1], -1)

    def borders(self) -> list[Tensor]:
        """Return top, bottom, left and right, corners shared: four (C, N * length)."""
        return [self.line(side, 0) for side in "TBLR"]

    @property
    def centre_size(self) -> int:
        """Number of values in the centre, over all channels."""
        _, channels, height, width = self.maps[0].shape
        return channels * self.images * (height - 2) * (width - 2)

    def centre(self, channels: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
        """Return all but the outermost ring, pooled over images: (C, N (H-2) (W-2)), contiguous.

        ``out``: a flat tensor of at least as many values to write to, since fresh memory for each
        site would cost more than the copy.
        """
        first = self.maps[0]
        _, count, height, width = first.shape
        count = count if channels is None else len(channels)
        shape = (count, self.images, height - 2, width - 2)
        pooled = first.new_empty(shape) if out is None else out[: math.prod(shape)].view(shape)
        at = 0
        for batch in self.maps:
            inner = _of(batch[:, :, 1:-1, 1:-1], channels)
            pooled[:, at : at + len(batch)].copy_(inner.transpose(0, 1))
            at += len(batch)
        return pooled.view(count, -1)


def _of(batch: Tensor, channels: Tensor | None) -> Tensor:
    """Select channels: (N, C, ...) -> (N, P, ...)."""
    return batch if channels is None else batch[:, channels]
