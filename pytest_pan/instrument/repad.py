"""Swap the padding of chosen channels of a convolution; only outputs it reaches are computed.

The interior of the output stays, bit for bit. The lines along the borders are convolved again for
the chosen channels, from the map padded in the other mode. This equals a convolution of the whole
map padded that way, up to the rounding of a sum in another order.

All rows that the padding reaches are one convolution, and so are all columns between them: the
cells that each line reads are laid side by side, so that a stride of a kernel leads from one line
to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pytest_pan.instrument.calls import ConvCall
from pytest_pan.records.plans import MODES
from pytest_pan.records.sites import Quad

_FILL = -1
_Pair = tuple[int, int]


class NotSwappableError(ValueError):
    """A map cannot be padded in this mode; the message says why."""


def repad(
    call: ConvCall,
    channels: Tensor | None,
    mode: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pad these channels of the call's output (all, if None) in another mode, in place.

    ``channels`` (P,), of an image, on the output's device; ``generator`` for ``noise``, on the CPU.
    Returns the call's output; ``zeros`` on a zero-padded convolution leaves it as it is. Raises
    :class:`NotSwappableError` if the map is too small for the mode or a pad before the convolution
    has cropped it; nothing is written then.
    """
    maps = call.maps
    for lines in repadded_lines(call, channels, mode, generator):
        lines.write(maps, channels)
    return call.output


@dataclass(frozen=True, slots=True)
class Lines:
    """Output lines along the borders of a map, computed with another padding."""

    strip: _Strip
    block: Tensor
    """(N, P, h, w): the lines of each end side by side."""

    def of(self, channels: Tensor) -> Lines:
        """Return the lines of some of the channels: (P,) int."""
        return Lines(self.strip, self.block[:, channels.to(self.block.device)])

    def write(self, output: Tensor, channels: Tensor | None = None) -> None:
        """Put the lines in their place in these channels of a map, (N, C, H, W)."""
        _write(output, self.block, channels, self.strip)


def repadded_lines(
    call: ConvCall,
    channels: Tensor | None,
    mode: str,
    generator: torch.Generator | None = None,
) -> Iterator[Lines]:
    """Compute the lines that :func:`repad` writes; the call's output stays as it is.

    Raises :class:`NotSwappableError` before the first of them.
    """
    if mode == "zeros" and call.pad.mode == "zeros":
        return
    _check(call, mode)
    source = _Source(call, mode, generator)
    filters = _Filters(call, channels)
    for strip in source.strips:
        block = filters.convolve(source, strip)
        yield Lines(strip, block if call.fold == 1 else block.unflatten(1, (call.fold, -1))[0])


def swappable(call: ConvCall, mode: str) -> str:
    """Return why the call cannot be padded in this mode; empty if it can."""
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


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Shape of a convolution, which decides the lines to convolve again."""

    mode: str
    """Mode in which padded cells copy others; ``zeros`` if they copy none."""
    size: _Pair
    amounts: Quad
    kernel: _Pair
    stride: _Pair
    dilation: _Pair
    map: _Pair
    device: torch.device


@dataclass(frozen=True, slots=True)
class _Strip:
    """Output lines to convolve again, and the padded cells that they read."""

    axis: int
    """0: whole rows, 1: the columns between them."""
    lines: tuple[slice, slice]
    """The output lines: the first ones along the axis, and the last ones."""
    across: slice
    """Their extent along the other axis."""
    places: tuple[Tensor, Tensor]
    """The rows and the columns read, as places in the padded map."""
    cells: tuple[Tensor, Tensor]
    """The same as places in the map; 0 where nothing is copied."""
    empty: Tensor | None
    """(h, w): where nothing is copied; None where that is nowhere."""
    share: Tensor
    """(rows, columns) float64: kernel cells over those inside the map, of each output; 0 where
    none is inside."""
    stride: _Pair
    dilation: _Pair


@lru_cache(maxsize=1024)
def _strips(at: _Geometry) -> tuple[_Strip, ...]:
    """Return the strips that hold every output whose window reaches over an edge, once each.

    Later passes use them too: they are neither inference tensors nor fake ones (torch.export's).
    """
    with torch.inference_mode(False), _disable_current_modes():
        return _new_strips(at)


def _new_strips(at: _Geometry) -> tuple[_Strip, ...]:
    (top, bottom), (left, right) = _interior(at, 0), _interior(at, 1)
    found = []
    if top or bottom < at.map[0]:
        found.append(_strip(at, 0, (top, bottom), (0, at.map[1])))
    if (left or right < at.map[1]) and top < bottom:
        found.append(_strip(at, 1, (left, right), (top, bottom)))
    return tuple(found)


def _strip(at: _Geometry, axis: int, between: _Pair, extent: _Pair) -> _Strip:
    """Return the lines before and after ``between`` along the axis, over an extent across it."""
    other = 1 - axis
    first, last = slice(0, between[0]), slice(between[1], at.map[axis])
    lines = torch.cat([torch.arange(part.start, part.stop) for part in (first, last)])
    window = torch.arange(at.kernel[axis]) * at.dilation[axis]
    reach = at.dilation[other] * (at.kernel[other] - 1) + 1
    along = torch.arange(extent[0] * at.stride[other], (extent[1] - 1) * at.stride[other] + reach)
    places = [(lines[:, None] * at.stride[axis] + window).flatten(), along]
    stride, dilation = [at.kernel[axis], at.stride[other]], [1, at.dilation[other]]
    if axis == 1:
        places, stride, dilation = places[::-1], stride[::-1], dilation[::-1]
    cells = [
        copied_cells(at.mode, at.size[dim], *at.amounts[2 * dim : 2 * dim + 2])[places[dim]]
        for dim in (0, 1)
    ]
    outside = [part == _FILL for part in cells]
    empty = outside[0][:, None] | outside[1][None, :]
    inside = [(~part).double() for part in outside]
    taps = [
        line.unfold(0, (at.kernel[dim] - 1) * dilation[dim] + 1, stride[dim])[:, :: dilation[dim]]
        for dim, line in enumerate(inside)
    ]
    valid = taps[0].sum(1)[:, None] * taps[1].sum(1)[None, :]
    share = torch.where(valid > 0, at.kernel[0] * at.kernel[1] / valid.clamp(min=1), 0)
    there = at.device
    return _Strip(
        axis=axis,
        lines=(first, last),
        across=slice(*extent),
        places=(places[0].to(there), places[1].to(there)),
        cells=(cells[0].clamp(min=0).to(there), cells[1].clamp(min=0).to(there)),
        empty=empty.to(there) if empty.any() else None,
        share=share.to(there),
        stride=(stride[0], stride[1]),
        dilation=(dilation[0], dilation[1]),
    )


class _Source:
    """The unpadded map of a call, and the cells of it that strips read, padded in another mode."""

    def __init__(self, call: ConvCall, mode: str, generator: torch.Generator | None) -> None:
        batch = call.input if call.input.dim() == 4 else call.input[None]
        top, _, left, _ = call.before.amounts
        height, width = call.size
        self.map = batch[:, :, top : top + height, left : left + width]
        self.mode = mode
        geometry = _Geometry(
            mode="zeros" if mode in ("mean", "partial", "noise") else mode,
            size=call.size,
            amounts=call.pad.quad,
            kernel=call.kernel,
            stride=call.stride,
            dilation=call.dilation,
            map=call.map,
            device=self.map.device,
        )
        self.strips = _strips(geometry)
        self._fill = self._filling(call.pad.quad, generator)

    def _filling(self, amounts: Quad, generator: torch.Generator | None) -> Tensor | None:
        """Return values of padded cells that are no copies: (N, C, 1, 1), or the padded map."""
        if self.mode not in ("mean", "noise"):
            return None
        values = self.map if self.map.dtype == torch.float64 else self.map.float()
        mean = values.mean((2, 3), keepdim=True)
        if self.mode == "mean":
            return mean.to(self.map.dtype)
        deviation = values.std((2, 3), keepdim=True, correction=0)
        height, width = self.map.shape[2:]
        extent = height + sum(amounts[:2]), width + sum(amounts[2:])
        draws = torch.randn((*self.map.shape[:2], *extent), generator=generator).to(values)
        return (mean + deviation * draws).to(self.map.dtype)

    def window(self, strip: _Strip, inputs: Tensor | None) -> Tensor:
        """Return the padded cells that a strip's outputs read: (N, C, h, w)."""
        cells = _taken(self.map, strip.cells, strip.axis, inputs)
        if strip.empty is None:
            return cells
        if self._fill is None:
            return cells.masked_fill_(strip.empty, 0)
        if self._fill.shape[2] > 1:
            return torch.where(
                strip.empty, _taken(self._fill, strip.places, strip.axis, inputs), cells
            )
        filling = self._fill if inputs is None else self._fill[:, inputs]
        return torch.where(strip.empty, filling, cells)


def _taken(
    whole: Tensor, places: tuple[Tensor, Tensor], axis: int, inputs: Tensor | None
) -> Tensor:
    """Return cells of a map (N, C, H, W), of some channels: (N, P, h, w); the least part first."""
    lines, channels = whole.shape[2 + axis], whole.shape[1]
    if inputs is not None and len(inputs) * lines < channels * len(places[axis]):
        whole, inputs = whole.index_select(1, inputs), None
    few = whole.index_select(2 + axis, places[axis])
    few = few if inputs is None else few.index_select(1, inputs)
    return few.index_select(3 - axis, places[1 - axis])


class _Filters:
    """The filters of the chosen channels, with the inputs that each of them reads."""

    def __init__(self, call: ConvCall, channels: Tensor | None) -> None:
        self._call = call
        self._inputs: Tensor | None = None
        self._picked: Tensor | None = None
        """The chosen channels among those that are convolved."""
        self._weight, self._bias, self._groups = call.weight, call.bias, call.groups
        if channels is None:
            return
        if call.fold > 1:  # the channels of each image
            firsts = torch.arange(call.fold, device=channels.device) * call.channels
            channels = (firsts[:, None] + channels).flatten()
        if call.groups == 1:
            self._weight = call.weight[channels]
            self._bias = None if call.bias is None else call.bias[channels]
            return
        each, count = call.weight.shape[1], call.weight.shape[0] // call.groups
        used, place = (channels // count).unique(return_inverse=True)
        self._picked = place * count + channels % count
        if len(used) < call.groups:  # whole groups: a copy of the inputs a filter would cost more
            self._weight = call.weight.unflatten(0, (-1, count))[used].flatten(0, 1)
            if call.bias is not None:
                self._bias = call.bias.unflatten(0, (-1, count))[used].flatten()
            offsets = torch.arange(each, device=channels.device)
            self._inputs = (used[:, None] * each + offsets).flatten()
            self._groups = len(used)

    def convolve(self, source: _Source, strip: _Strip) -> Tensor:
        """Return a strip's outputs: (N, P, h, w)."""
        cells = source.window(strip, self._inputs)
        scaled = source.mode == "partial"
        bias = None if scaled else self._bias
        found = F.conv2d(cells, self._weight, bias, strip.stride, 0, strip.dilation, self._groups)
        if scaled:
            found = found * strip.share.to(found.dtype)
            if self._bias is not None:
                found = found + self._bias[:, None, None].to(found.dtype)
        found = found if self._picked is None else found.index_select(1, self._picked)
        return found.to(self._call.output.dtype)


def _write(output: Tensor, block: Tensor, channels: Tensor | None, strip: _Strip) -> None:
    """Write a strip's outputs, (N, P, h, w), to their place."""
    chosen = slice(None) if channels is None else channels
    dim, done = 2 + strip.axis, 0
    for lines in strip.lines:
        if count := lines.stop - lines.start:
            place = (lines, strip.across) if strip.axis == 0 else (strip.across, lines)
            output[(slice(None), chosen, *place)] = block.narrow(dim, done, count)
        done += count


def copied_cells(mode: str, size: int, first: int, last: int) -> Tensor:
    """Return the cell that each cell of a padded line copies, or -1: (first + size + last,)."""
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


def _interior(at: _Geometry, axis: int) -> _Pair:
    """Return the outputs along an axis whose windows stay inside the map: first, last + 1."""
    first = at.amounts[2 * axis]
    stride, size = at.stride[axis], at.size[axis]
    span = at.dilation[axis] * (at.kernel[axis] - 1) + 1
    begin = min(-(-first // stride), at.map[axis])
    end = (size + first - span) // stride + 1
    return begin, min(max(end, begin), at.map[axis])
