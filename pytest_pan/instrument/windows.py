"""Windows of convolutions and pools along each axis, and network shapes without arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_pan.instrument.calls import Arguments, ConvCall
from pytest_pan.instrument.paths import Paths
from pytest_pan.instrument.pools import PoolArguments, PoolCall
from pytest_pan.instrument.tap import Tap, tapped


@dataclass(frozen=True, slots=True)
class Axis:
    """Windows along one axis."""

    size: int
    """Cells of the input, without padding."""
    count: int
    """Windows, which is the size of the output."""
    span: int
    """Cells from a window's first to its last, ``d (k - 1) + 1``."""
    stride: int
    first: int
    """Padding before the first cell."""

    @property
    def consumed(self) -> tuple[int, int]:
        """Padding that windows reach before the first and after the last cell (Mind the Pad).

        The real number of windows counts: a pool in ceil mode reaches cells that no padding has.
        """
        return self.first, max(self._end - self.size, 0)

    @property
    def is_uneven(self) -> bool:
        """Whether both ends consume different amounts."""
        first, last = self.consumed
        return first != last

    @property
    def dropped(self) -> int:
        """Cells at the end that no window reaches.

        Cells that a stride larger than the kernel leaves out between windows are not counted.
        """
        return max(self.size - max(self._end, 0), 0)

    @property
    def _end(self) -> int:
        """Number of cells before the end of the last window, without padding."""
        return (self.count - 1) * self.stride + self.span - self.first


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one call: rows, then columns."""

    name: str
    """Of the call (:class:`ConvCall`, :class:`PoolCall`)."""
    is_pool: bool
    axes: tuple[Axis, Axis]
    is_unclear: bool = False
    """Whether its input may have padding that could not be followed."""

    @property
    def is_uneven(self) -> bool:
        """Whether an axis is uneven."""
        return any(axis.is_uneven for axis in self.axes)


def windows_of(call: ConvCall | PoolCall) -> Windows:
    """Return the windows of a call. A crop before it leaves cells out, but the call drops none."""
    before = [max(amount, 0) for amount in call.before.quad]
    rows, columns = (
        Axis(
            size=int(call.input.shape[axis - 2]) - before[2 * axis] - before[2 * axis + 1],
            count=int(call.map[axis]),
            span=call.dilation[axis] * (call.kernel[axis] - 1) + 1,
            stride=call.stride[axis],
            first=before[2 * axis] + call.own.quad[2 * axis],
        )
        for axis in (0, 1)
    )
    unclear = call.before.is_unclear
    return Windows(call.name, isinstance(call, PoolCall), (rows, columns), unclear)


class Shapes(Paths):
    """Makes a forward pass compute shapes only: every map is one number in memory."""

    def _conv(self, at: Arguments) -> Tensor:
        top, bottom, left, right = at.own.quad
        size = []
        for axis, padding in ((0, top + bottom), (1, left + right)):
            span = at.dilation[axis] * (at.weight.shape[2 + axis] - 1) + 1
            size.append((at.input.shape[axis - 2] + padding - span) // at.stride[axis] + 1)
        if at.input.shape[-3] != at.weight.shape[1] * at.groups:
            raise ValueError(f"a map of {at.input.shape[-3]} channels")
        return _expanded(at.input, (*at.input.shape[:-3], len(at.weight), *size))

    def _pool(self, at: PoolArguments, func: Any, args: Any, kwargs: Any) -> Any:
        empty = torch.empty(at.input.shape, device="meta")
        rest = {key: value for key, value in kwargs.items() if key != "input"}
        output = func(empty, *args[1:], **rest)
        if isinstance(output, tuple):  # with indices
            indices = torch.zeros((), dtype=torch.int64, device=at.input.device)
            return _expanded(at.input, output[0].shape), indices.expand(output[1].shape)
        return _expanded(at.input, output.shape)

    def _pad(self, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - as of Paths
        named = dict(zip(("input", "pad"), args, strict=False)) | kwargs
        maps, amounts = named["input"], [int(each) for each in named["pad"]]
        shape = list(maps.shape)
        for place, (first, last) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), 1):
            shape[-place] += first + last
        return _expanded(maps, tuple(shape))


def _expanded(source: Tensor, shape: Any) -> Tensor:
    """Return one number of a tensor as a tensor of that shape; raise ValueError for no cell."""
    if min(shape) < 1:
        raise ValueError(f"a map of {'x'.join(map(str, shape[-2:]))} cells")
    return source[(0,) * source.dim()].expand(tuple(shape))


class UnevenError(Exception):
    """Ends a forward pass at its first uneven layer."""


def windows_at(
    model: nn.Module, shape: tuple[int, int, int], *, stop: bool = False
) -> list[Windows]:
    """Return the windows of all convolutions and pools for an image (C, H, W), without arithmetic.

    Call it with the model borrowed. Raises what the model raises for sizes that it does not take;
    with ``stop``, :class:`UnevenError` at the first layer that is uneven.
    """
    place = next((each.device for each in model.parameters()), torch.device("cpu"))
    found: list[Windows] = []

    def see(call: ConvCall | PoolCall) -> None:
        found.append(windows_of(call))
        if stop and found[-1].is_uneven:
            raise UnevenError(call.name)

    with torch.enable_grad():
        one = torch.zeros(1, dtype=torch.float64, device=place, requires_grad=True)
        image = one[0].expand(1, *shape)
        with Shapes(), tapped(Tap(model, see, see_pool=see)) as tap:
            tap.begin(1)
            model(image)
    return found
