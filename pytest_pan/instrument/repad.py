"""Another padding for chosen channels of a convolution: only what the padding reaches is computed.

An output depends on the padding only where its window reaches over the edge of the map. So the
interior of the output stays, bit for bit, and four strips along the borders are convolved again
for the chosen channels, from the map padded in the other mode. Equal to a convolution of the
whole map padded that way, up to the rounding of a sum in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.plans import MODES

_FILL = -1


class NotSwappableError(ValueError):
    """This padding does not exist for a map of this size; the message says why."""


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """Output rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


def repad(
    call: ConvCall,
    channels: Tensor | None,
    mode: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The call's output with these channels (all, if None) padded in another mode, in place.

    ``channels`` (P,) on the output's device; ``generator`` for ``noise``, on the CPU. Returns the
    output, which is the tensor of the call, written to; ``zeros`` on a zero-padded convolution
    leaves it as it is. Raises :class:`NotSwappableError` where the map is too small for the mode
    or a pad before the convolution has cropped it; nothing is written then.
    """
    if mode == "zeros" and call.pad.mode == "zeros":
        return call.output
    source = _Source(call, mode, generator)
    output = call.output if call.output.dim() == 4 else call.output[None]
    filters = _Filters(call, channels)
    for part in _reached(call):
        block = filters.convolve(source, part)
        place = (slice(part.top, part.bottom), slice(part.left, part.right))
        output[(slice(None), slice(None) if channels is None else channels, *place)] = block
    return call.output


def swappable(call: ConvCall, mode: str) -> str:
    """Why the call cannot be padded in this mode; empty if it can."""
    try:
        _check(call, mode)
    except NotSwappableError as error:
        return str(error)
    return ""


def _check(call: ConvCall, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"padding mode {mode!r}; allowed: {', '.join(MODES)}")
    if any(amount < 0 for amount in (*call.before.amounts, *call.own.amounts)):
        raise NotSwappableError("a pad before it crops the map")
    top, bottom, left, right = call.pad.amounts
    for size, pads in zip(call.size, ((top, bottom), (left, right)), strict=True):
        pad = max(pads)
        if mode == "reflect" and pad and pad >= size:
            height, width = call.size
            raise NotSwappableError(
                f"reflect padding {pad} needs a map larger than {pad}, got {height}x{width}"
            )
        if mode in ("symmetric", "circular") and pad > size:
            height, width = call.size
            raise NotSwappableError(
                f"{mode} padding {pad} needs a map of at least {pad}, got {height}x{width}"
            )


class _Source:
    """The unpadded map of a call, and any rectangle of it padded in another mode."""

    def __init__(self, call: ConvCall, mode: str, generator: torch.Generator | None) -> None:
        _check(call, mode)
        batch = call.input if call.input.dim() == 4 else call.input[None]
        top, _, left, _ = call.before.amounts
        height, width = call.size
        self.map = batch[:, :, top : top + height, left : left + width]
        self.mode, self.call = mode, call
        amounts = call.pad.amounts
        copied = "zeros" if mode in ("mean", "partial", "noise") else mode
        self._rows = _cells(copied, height, *amounts[:2])
        self._columns = _cells(copied, width, *amounts[2:])
        self._fill = self._filling(generator)

    def _filling(self, generator: torch.Generator | None) -> Tensor | None:
        """What padded cells hold where they hold no copy: (N, C, 1, 1), or the whole padded map."""
        if self.mode not in ("mean", "noise"):
            return None
        values = self.map if self.map.dtype == torch.float64 else self.map.float()
        mean = values.mean((2, 3), keepdim=True)
        if self.mode == "mean":
            return mean.to(self.map.dtype)
        deviation = values.std((2, 3), keepdim=True, correction=0)
        shape = (*self.map.shape[:2], len(self._rows), len(self._columns))
        draws = torch.randn(shape, generator=generator).to(values)
        return (mean + deviation * draws).to(self.map.dtype)

    def window(self, part: _Rectangle, spans: tuple[int, int], inputs: Tensor | None) -> Tensor:
        """The padded cells that these outputs read, of these input channels: (N, C, h, w).

        Narrowed before anything is copied: a strip is a small part of a map.
        """
        (down, across), (tall, wide) = self.call.stride, spans
        rows = slice(part.top * down, (part.bottom - 1) * down + tall)
        columns = slice(part.left * across, (part.right - 1) * across + wide)
        at_rows, at_columns = self._rows[rows], self._columns[columns]
        cells = _narrow(_narrow(self.map, 2, at_rows), 3, at_columns)
        cells = cells if inputs is None else cells[:, inputs]
        for dim, at in ((2, at_rows), (3, at_columns)):
            cells = cells.index_select(dim, (at - _first(at)).clamp(min=0).to(cells.device))
        if self._fill is None and self.mode not in ("zeros", "partial"):
            return cells
        empty = ((at_rows == _FILL)[:, None] | (at_columns == _FILL)[None, :]).to(cells.device)
        if self._fill is None:
            return cells.masked_fill(empty, 0)
        filling = self._fill if inputs is None else self._fill[:, inputs]
        whole = filling.shape[2] > 1
        return torch.where(empty, filling[:, :, rows, columns] if whole else filling, cells)

    def valid_share(self, part: _Rectangle) -> Tensor:
        """Kernel cells over those inside the map, for each output: (h, w); 0 where none is."""
        kernel, stride, dilation = self.call.kernel, self.call.stride, self.call.dilation
        lines = []
        for axis, (first, last) in enumerate(((part.top, part.bottom), (part.left, part.right))):
            inside = ((self._rows, self._columns)[axis] != _FILL).double()
            taps = torch.arange(kernel[axis], device=inside.device) * dilation[axis]
            starts = torch.arange(first, last, device=inside.device) * stride[axis]
            lines.append(inside[starts[:, None] + taps].sum(1))
        valid = (lines[0][:, None] * lines[1][None, :]).to(self.map.device)
        return torch.where(valid > 0, kernel[0] * kernel[1] / valid.clamp(min=1), 0)


class _Filters:
    """The filters of the chosen channels, with the inputs that each of them reads."""

    def __init__(self, call: ConvCall, channels: Tensor | None) -> None:
        self._call = call
        self._inputs: Tensor | None = None
        self._weight, self._bias, self._groups = call.weight, call.bias, call.groups
        if channels is None:
            return
        self._weight = call.weight[channels]
        self._bias = None if call.bias is None else call.bias[channels]
        if call.groups > 1:  # each chosen filter becomes a group with its own copy of the inputs
            each = call.weight.shape[1]
            group = channels // (call.weight.shape[0] // call.groups)
            offsets = torch.arange(each, device=channels.device)
            self._inputs = (group[:, None] * each + offsets).flatten()
            self._groups = len(channels)

    def convolve(self, source: _Source, part: _Rectangle) -> Tensor:
        """Outputs of a rectangle: (N, P, h, w)."""
        call = self._call
        tall, wide = (d * (k - 1) + 1 for d, k in zip(call.dilation, call.kernel, strict=True))
        cells = source.window(part, (tall, wide), self._inputs)
        scaled = source.mode == "partial"
        bias = None if scaled else self._bias
        found = F.conv2d(cells, self._weight, bias, call.stride, 0, call.dilation, self._groups)
        if scaled:
            found = found * source.valid_share(part).to(found.dtype)
            if self._bias is not None:
                found = found + self._bias[:, None, None].to(found.dtype)
        return found.to(call.output.dtype)


def _first(at: Tensor) -> int:
    """The smallest cell copied; 0 where none is."""
    copied = at[at != _FILL]
    return int(copied.min()) if len(copied) else 0


def _narrow(map: Tensor, dim: int, at: Tensor) -> Tensor:
    """A view of the map from the first to the last cell copied."""
    first = _first(at)
    return map.narrow(dim, first, max(int(at.max()) - first, 0) + 1)


def _cells(mode: str, size: int, first: int, last: int) -> Tensor:
    """Which cell of the map each cell of the padded line copies: (first + size + last,), or -1.

    On the CPU, where asking for an extent does not wait for a GPU.
    """
    at = torch.arange(-first, size + last)
    if mode == "zeros":
        return torch.where((at >= 0) & (at < size), at, _FILL)
    if mode == "replicate":
        return at.clamp(0, size - 1)
    if mode == "circular":
        return at.remainder(size)
    if mode == "symmetric":
        at = torch.where(at < 0, -1 - at, at)
        return torch.where(at >= size, 2 * size - 1 - at, at)
    at = at.abs()
    return torch.where(at >= size, 2 * (size - 1) - at, at)


def _reached(call: ConvCall) -> Iterator[_Rectangle]:
    """Rectangles that together hold every output whose window reaches over an edge, once each."""
    height, width = call.map
    (top, bottom), (left, right) = (_interior(call, axis) for axis in (0, 1))
    parts = (
        _Rectangle(0, top, 0, width),
        _Rectangle(bottom, height, 0, width),
        _Rectangle(top, bottom, 0, left),
        _Rectangle(top, bottom, right, width),
    )
    return (part for part in parts if part.top < part.bottom and part.left < part.right)


def _interior(call: ConvCall, axis: int) -> tuple[int, int]:
    """First and one past the last output along an axis whose window stays inside the map."""
    first = call.pad.amounts[2 * axis]
    stride, size = call.stride[axis], call.size[axis]
    span = call.dilation[axis] * (call.kernel[axis] - 1) + 1
    begin = min(-(-first // stride), call.map[axis])
    end = (size + first - span) // stride + 1
    return begin, min(max(end, begin), call.map[axis])
