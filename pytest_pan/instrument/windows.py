"""Windows of convolutions and pools along each axis, and network shapes without arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from pytest_pan.instrument import functions
from pytest_pan.instrument.calls import Arguments
from pytest_pan.instrument.paths import Paths
from pytest_pan.instrument.sites import Pad, pair, site_name
from pytest_pan.instrument.unseen import ROOT


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
    """Padding before the first cell; negative for a crop."""

    @property
    def consumed(self) -> tuple[int, int]:
        """Padding that windows reach before the first and after the last cell (Mind the Pad).

        The real number of windows counts: a pool in ceil mode reaches cells that no padding has.
        """
        reached = (self.count - 1) * self.stride + self.span - self.first
        return max(self.first, 0), max(reached - self.size, 0)

    @property
    def is_uneven(self) -> bool:
        """Whether both ends consume different amounts."""
        first, last = self.consumed
        return first != last

    @property
    def dropped(self) -> int:
        """Cells at the end that no window reaches."""
        reached = (self.count - 1) * self.stride + self.span - self.first
        return max(self.size - max(reached, 0), 0)


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one call: rows, then columns."""

    name: str
    """Of the module, with ``#2``, ... for further pools in it; empty if not known."""
    is_pool: bool
    axes: tuple[Axis, Axis]

    @property
    def is_uneven(self) -> bool:
        """Whether an axis is uneven."""
        return any(axis.is_uneven for axis in self.axes)


def of_pool(func: Any, args: Any, kwargs: Any, output: Any, *, name: str, pad: Pad) -> Windows:
    """Return the windows of a pool that gave this output.

    ``pad``: the padding that is in its input already.
    """
    keys = ["input", "kernel_size", "stride", "padding"]
    if functions.name_of(func) != "avg_pool2d":
        keys.append("dilation")
    named = dict(zip(keys, args, strict=False)) | kwargs
    kernel = pair(named["kernel_size"])
    maps = output[0] if isinstance(output, tuple) else output
    return _windows(
        name,
        size=named["input"].shape[-2:],
        map=maps.shape[-2:],
        kernel=kernel,
        stride=pair(named.get("stride") or kernel),
        dilation=pair(named.get("dilation", 1)),
        own=pair(named.get("padding", 0)),
        pad=pad,
        is_pool=True,
    )


def of_conv(at: Arguments, map: tuple[int, int], *, name: str, pad: Pad) -> Windows:
    """Return the windows of a convolution; ``pad`` is in its input already."""
    top, _, left, _ = at.own.quad
    return _windows(
        name,
        size=at.input.shape[-2:],
        map=map,
        kernel=(at.weight.shape[2], at.weight.shape[3]),
        stride=at.stride,
        dilation=at.dilation,
        own=(top, left),
        pad=pad,
        is_pool=False,
    )


def _windows(
    name: str,
    *,
    size: Any,
    map: Any,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    own: tuple[int, int],
    pad: Pad,
    is_pool: bool,
) -> Windows:
    amounts = pad.quad
    rows, columns = (
        Axis(
            size=int(size[axis]) - amounts[2 * axis] - amounts[2 * axis + 1],
            count=int(map[axis]),
            span=dilation[axis] * (kernel[axis] - 1) + 1,
            stride=stride[axis],
            first=own[axis] + amounts[2 * axis],
        )
        for axis in (0, 1)
    )
    return Windows(name, is_pool, (rows, columns))


class Shapes(Paths):
    """Makes a forward pass compute shapes only, and gathers the windows of convolutions and pools.

    Every map is one number in memory. Explicit pads are known by the tensor that they gave.
    """

    def __init__(self, names: Mapping[nn.Module, str] | None = None) -> None:
        super().__init__()
        self.windows: list[Windows] = []
        self._names = names or {}
        self._running: list[str] = []
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._pads: dict[int, tuple[Tensor, Pad]] = {}

    def _conv(self, at: Arguments) -> Tensor:
        top, bottom, left, right = at.own.quad
        size = []
        for axis, padding in ((0, top + bottom), (1, left + right)):
            span = at.dilation[axis] * (at.weight.shape[2 + axis] - 1) + 1
            size.append((at.input.shape[axis - 2] + padding - span) // at.stride[axis] + 1)
        name, pad = self._name(is_pool=False), self._pad_of(at.input)
        self.windows.append(of_conv(at, (size[0], size[1]), name=name, pad=pad))
        return _expanded(at.input, (*at.input.shape[:-3], len(at.weight), *size))

    def _pool(self, func: Any, args: Any, kwargs: Any) -> Any:
        maps = args[0] if args else kwargs["input"]
        empty = torch.empty(maps.shape, device="meta")
        rest = {key: value for key, value in kwargs.items() if key != "input"}
        output = func(empty, *args[1:], **rest)
        self.windows.append(
            of_pool(
                func,
                (maps, *args[1:]),
                rest,
                output,
                name=self._name(is_pool=True),
                pad=self._pad_of(maps),
            )
        )
        shape = (output[0] if isinstance(output, tuple) else output).shape
        return _expanded(maps, shape)

    def _pad(self, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - as of Paths
        named = dict(zip(("input", "pad"), args, strict=False)) | kwargs
        maps, amounts = named["input"], [int(each) for each in named["pad"]]
        shape = list(maps.shape)
        for place, (first, last) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), 1):
            shape[-place] += first + last
        found = _expanded(maps, tuple(shape))
        left, right, top, bottom = (*amounts, 0, 0, 0, 0)[:4]
        earlier = self._pad_of(maps)
        self._pads[id(found)] = (
            found,
            earlier.then(Pad(amounts=(top, bottom, left, right), mode="zeros")),
        )
        return found

    def enter(self, module: nn.Module, _args: Any) -> None:
        """Note that a module starts: a global forward pre-hook."""
        self._running.append(self._names.get(module, ""))

    def leave(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        """Note that a module has ended: a global forward hook."""
        self._running.pop()

    def _name(self, *, is_pool: bool) -> str:
        name = next((each for each in reversed(self._running) if each), ROOT)
        self._counts[name, is_pool] += 1
        count = self._counts[name, is_pool]
        return name + (f"#{count}" if count > 1 else "")

    def _pad_of(self, maps: Tensor) -> Pad:
        known = self._pads.get(id(maps))
        return known[1] if known is not None else Pad(amounts=(0, 0, 0, 0), mode="zeros")


def _expanded(source: Tensor, shape: Any) -> Tensor:
    """Return one number of a tensor as a tensor of that shape; raise ValueError for no cell."""
    if min(shape) < 1:
        raise ValueError(f"a map of {'x'.join(map(str, shape[-2:]))} cells")
    return source[(0,) * source.dim()].expand(tuple(shape))


def windows_at(model: nn.Module, shape: tuple[int, int, int]) -> list[Windows]:
    """Return the windows of all convolutions and pools for an image (C, H, W), without arithmetic.

    Call it with the model borrowed. Raises what the model raises for other sizes than it takes.
    """
    place = next((each.device for each in model.parameters()), torch.device("cpu"))
    with torch.enable_grad():
        one = torch.zeros(1, dtype=torch.float64, device=place, requires_grad=True)
        names = {module: site_name(name) or ROOT for name, module in model.named_modules()}
        shapes = Shapes(names)
        hooks = (
            register_module_forward_pre_hook(shapes.enter),
            register_module_forward_hook(shapes.leave, always_call=True),
        )
        try:
            with shapes:
                model(one[0].expand(1, *shape))
        finally:
            for hook in hooks:
                hook.remove()
        return shapes.windows
