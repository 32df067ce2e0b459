"""How many times the last feature map reads each input pixel (Mind the Pad, foveation).

A function mode replaces every convolution by the mean over its input channels and the sum over its
kernel cells, every pool by the sum over its window, and normalisation, activation, gates and
attention by identity. What is left is linear, so the gradient of the sum of the last map is the
number of paths from each pixel. The model's weights are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_pan.instrument import functions
from pytest_pan.instrument.calls import Arguments, conv2d_arguments
from pytest_pan.instrument.pools import PoolArguments, pool_arguments
from pytest_pan.instrument.repad import copied_cells

MODES = ("zeros", "reflect", "symmetric", "replicate", "circular", "partial")
"""Padding modes in which paths can be counted: others copy no single pixel."""

_ADDITIONS = ("add", "radd")
_PRODUCTS = frozenset(
    (
        *("sub", "rsub", "subtract", "mul", "rmul", "multiply", "div", "rdiv", "truediv"),
        *("rtruediv", "divide", "true_divide", "pow", "rpow", "maximum", "minimum", "fmax"),
        *("fmin", "where", "masked_fill", "lerp", "addcmul", "addcdiv"),
    )
)
_TESTS = frozenset(
    ("eq", "ne", "lt", "le", "gt", "ge", "xor", "logical_not", "logical_and", "logical_or")
)
"""They give no numbers."""
_IDENTITY = (functions.POINTWISE - _PRODUCTS - _TESTS - set(_ADDITIONS)) | {
    "softmax",
    "log_softmax",
    "normalize",
    "rms_norm",
}
_CASTS = ("to", "type", "type_as", "float", "half", "bfloat16", "double", "detach", "data")
"""Paths stay in float64, and go through."""

_OTHER_CONVOLUTIONS = ("conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d")
_RESIZES = ("interpolate", "pixel_shuffle", "pixel_unshuffle", "conv_transpose2d")
_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
_PRODUCT_OF_MATRICES = ("matmul", "bmm", "mm", "baddbmm", "einsum")


class Paths(TorchFunctionMode):
    """Makes a forward pass count paths; ``mode`` is what zero padding of convolutions becomes.

    :attr:`last` is the last feature map afterwards, :attr:`replaced` names what became identity,
    :attr:`stride` is the pixels between neighbouring cells of the last map, by axis, as far as
    convolutions, pools and resizing functions make it.
    """

    def __init__(self, mode: str = "zeros") -> None:
        super().__init__()
        self._mode = mode
        self.last: Tensor | None = None
        self.stride = (1.0, 1.0)
        self.replaced: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = functions.name_of(func), kwargs or {}
        result = self._run(func, args, kwargs)
        for each in result if isinstance(result, tuple | list) else (result,):
            if _depends(each) and each.dim() == 4 and min(each.shape[2:]) > 1:
                stride = _stride(each, func, args, kwargs)
                if not name.startswith("adaptive"):
                    self.last, self.stride = each, stride
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = functions.name_of(func)
        traced = [each for each in _flat((*args, *kwargs.values())) if _depends(each)]
        if not traced:
            return func(*args, **kwargs)
        arguments = conv2d_arguments(func, args, kwargs)
        if arguments is not None:
            return self._conv(arguments)
        pool = pool_arguments(func, args, kwargs)
        if pool is not None:
            return self._pool(pool, func, args, kwargs)
        if name == "linear":
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if traced[0].shape[-1] != weight.shape[-1]:
                raise ValueError(f"{traced[0].shape[-1]} inputs of a layer for {weight.shape[-1]}")
            return traced[0].mean(-1, keepdim=True).expand(*traced[0].shape[:-1], len(weight))
        if name == "setitem":
            return None  # what a model writes into a map changes no path
        if name == "numpy":
            return traced[0].detach().clone().numpy()
        if name == "pad":
            return self._pad(func, args, kwargs)
        if name in _CASTS and args and args[0] is traced[0]:
            return traced[0] if len(args) + len(kwargs) > 1 or name != "type" else func(traced[0])
        if name in _OTHER_CONVOLUTIONS:
            return _with_ones(func, args, kwargs)
        if name in _IDENTITY:
            return traced[0]
        if name in _ATTENTION:
            self.replaced.add("attention")
            value = args[2] if len(args) > 2 else kwargs["value"]
            return value if name == _ATTENTION[0] else (value, None)
        if name in _ADDITIONS and len(traced) == 2:
            return _sum(*traced)
        if name in _PRODUCTS or name in _ADDITIONS:
            return self._product(traced, (*args, *kwargs.values()))
        if name in _PRODUCT_OF_MATRICES and len(traced) > 1:
            self.replaced.add("attention")
            shape = func(*_doubles(args), **kwargs).shape
            alike = [each for each in reversed(traced) if each.shape == shape]
            return alike[0] if alike else traced[-1].mean().expand(shape)
        return func(*_doubles(args), **{k: _doubles(v) for k, v in kwargs.items()})

    def _conv(self, at: Arguments) -> Tensor:
        batch = at.input if at.input.dim() == 4 else at.input[None]
        top, bottom, left, right = at.own.quad
        means = _one_of_equal(batch)
        if means is None:
            means = batch.unflatten(1, (at.groups, -1)).mean(2)
        groups = means.shape[1]
        kernel = at.weight.shape[2:]
        mode = "zeros" if self._mode == "partial" else self._mode
        ones = means.new_ones(groups, 1, *kernel)

        def sums(maps: Tensor, weight: Tensor, groups: int) -> Tensor:
            padded = _padded(maps, (left, right, top, bottom), mode)
            return F.conv2d(padded, weight, None, at.stride, 0, at.dilation, groups)

        found = sums(means, ones, groups)
        if self._mode == "partial":
            inside = sums(means.new_ones(1, 1, *means.shape[2:]), ones[:1], 1)
            found = found * (kernel[0] * kernel[1] / inside.clamp(min=1))
        found = _channels(found, len(at.weight))
        return found if at.input.dim() == 4 else found[0]

    def _pool(self, at: PoolArguments, func: Any, args: Any, kwargs: Any) -> Any:
        with torch.no_grad():
            output = func(*args, **kwargs)
        if isinstance(output, tuple):  # with indices
            return _window_sums(at, output[0].shape), output[1]
        return _window_sums(at, output.shape)

    def _pad(self, func: Any, args: Any, kwargs: Any) -> Any:
        named = dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
        if named.get("mode", "constant") != "constant":
            return func(*args, **kwargs)
        amounts = [int(each) for each in named["pad"]]
        maps = named["input"]
        one = _one_of_equal(maps) if len(amounts) <= 4 else None
        source = maps if one is None else one
        if self._mode in ("zeros", "partial") or len(amounts) != 4 or min(amounts) < 0:
            padded = F.pad(source, amounts)
        else:
            padded = _padded(source, amounts, self._mode)
        return padded if one is None else _channels(padded, maps.shape[1])

    def _product(self, traced: list[Tensor], values: Any) -> Tensor:
        """Return the traced operand with the largest map, in the shape of the result."""
        if len(traced) > 1:
            self.replaced.add("gates")
        shapes = [each.shape for each in _flat(values) if isinstance(each, Tensor)]
        return max(traced, key=Tensor.numel).expand(torch.broadcast_shapes(*shapes))


def pixel_counts(
    model: nn.Module, shape: tuple[int, int, int], *, mode: str = "zeros"
) -> tuple[Tensor, tuple[int, int], tuple[str, ...]]:
    """Return how many paths lead from each pixel (H, W) to the last map, float64, on the CPU.

    Also the total stride, and what was replaced by identity. ``shape`` (C, H, W) of the image.
    Raises ValueError for a model without a map. Call it with the model borrowed.
    """
    place = next((each.device for each in model.parameters()), torch.device("cpu"))
    with torch.enable_grad():
        image = torch.zeros(1, *shape, dtype=torch.float64, device=place, requires_grad=True)
        with Paths(mode) as paths:
            model(image)
        if paths.last is None:
            raise ValueError("no feature map depends on the image")
        (found,) = torch.autograd.grad(paths.last.sum(), image)
    strides = [
        axis_stride(size, cells, stride)
        for size, cells, stride in zip(shape[1:], paths.last.shape[2:], paths.stride, strict=True)
    ]
    return found[0].sum(0).cpu(), (strides[0], strides[1]), tuple(sorted(paths.replaced))


def axis_stride(size: int, cells: int, product: float = 0.0) -> int:
    """Return the number of pixels between neighbouring cells of the last map, along one axis.

    ``product``: that of the strides on the way, 0 if not known. It does not count cells that a
    network skips by indexing, as Swin does. Where it does not fit the number of cells, the power of
    two that does, or else the smallest number: n pixels
    in steps of S give at most (n - 1) // S + 1 cells.
    """
    least, most = -(-size // cells), (size - 1) // (cells - 1) if cells > 1 else size
    if least / 2 < product <= max(most, least):
        return max(round(product), 1)
    powers = [2**e for e in range(24) if min(least, most) <= 2**e <= most]
    return powers[0] if powers else max(min(least, most), 1)


def _stride(result: Tensor, func: Any, args: Any, kwargs: Any) -> tuple[float, float]:
    """Set and return the pixels between neighbouring cells of a result, by axis."""
    known: tuple[float, float] | None = getattr(result, "_paths_stride", None)
    if known is not None:  # identity
        return known
    maps = [each for each in _flat((*args, *kwargs.values())) if _depends(each)]
    strides = [getattr(each, "_paths_stride", (1.0, 1.0)) for each in maps]
    rows, columns = (max(each) for each in zip(*strides, strict=True))
    window = conv2d_arguments(func, args, kwargs) or pool_arguments(func, args, kwargs)
    if window is not None:
        rows, columns = rows * window.stride[0], columns * window.stride[1]
    elif functions.name_of(func) in _RESIZES:
        before, after = maps[0].shape[-2:], result.shape[-2:]
        rows, columns = rows * before[0] / after[0], columns * before[1] / after[1]
    result._paths_stride = rows, columns  # type: ignore[attr-defined]
    return rows, columns


def _with_ones(func: Any, args: Any, kwargs: Any) -> Any:
    """Run another convolution with the mean over its input channels, and no bias."""
    is_transposed = "transpose" in functions.name_of(func)
    rest = ("output_padding", "groups", "dilation") if is_transposed else ("dilation", "groups")
    names = ("input", "weight", "bias", "stride", "padding", *rest)
    named = dict(zip(names, args, strict=False)) | kwargs
    weight = named["weight"]
    channels = len(weight) // named.get("groups", 1) if is_transposed else weight.shape[1]
    ones = torch.ones_like(weight, dtype=torch.float64) / channels
    return func(**{**named, "weight": ones, "bias": None})


def _padded(maps: Tensor, amounts: Any, mode: str) -> Tensor:
    """Pad a map (N, C, H, W) by left, right, top, bottom cells."""
    left, right, top, bottom = amounts
    if mode == "zeros" or not any(amounts):
        return F.pad(maps, (left, right, top, bottom))
    for dim, first, last in ((2, top, bottom), (3, left, right)):
        chosen = copied_cells(mode, maps.shape[dim], first, last).to(maps.device)
        maps = maps.index_select(dim, chosen.clamp(0, maps.shape[dim] - 1))
    return maps


def _window_sums(at: PoolArguments, shape: torch.Size) -> Tensor:
    """Return the sums over a pool's windows; cells outside the map count as 0.

    ``shape``: that of the pool's output.
    """
    maps, amounts = at.input, []
    for axis in (1, 0):
        span = at.dilation[axis] * (at.kernel[axis] - 1) + 1
        first = at.own.quad[2 * axis]
        reached = (shape[axis - 2] - 1) * at.stride[axis] + span
        amounts += [first, max(reached - first - maps.shape[axis - 2], 0)]
    one = _one_of_equal(maps)
    source = maps if one is None else one
    channels = source.shape[-3]
    ones = maps.new_ones(channels, 1, *at.kernel)
    found = F.conv2d(F.pad(source, amounts), ones, None, at.stride, 0, at.dilation, channels)
    found = found[..., : shape[-2], : shape[-1]]
    return found if one is None else _channels(found, maps.shape[1])


def _one_of_equal(maps: Tensor) -> Tensor | None:
    """Return the first channel of a map whose channels are one and the same memory, else None.

    The channels of a convolution's output are equal here, and stay one until maps are concatenated.
    """
    return maps[:, :1] if maps.dim() == 4 and maps.stride(1) == 0 else None


def _channels(maps: Tensor, count: int) -> Tensor:
    """Return the map with each channel repeated to so many in all."""
    if maps.shape[1] == 1:
        return maps.expand(-1, count, -1, -1)
    return maps.repeat_interleave(count // maps.shape[1], 1)


def _sum(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of two maps; out of place, since their channels may be the same memory."""
    pair_of_ones = _one_of_equal(first), _one_of_equal(second)
    if first.shape == second.shape and None not in pair_of_ones:
        return _channels(pair_of_ones[0] + pair_of_ones[1], first.shape[1])  # type: ignore[operator]
    return first + second


def _depends(value: Any) -> bool:
    """Return whether a value was computed from the image; parameters require gradients, too."""
    if not isinstance(value, Tensor) or isinstance(value, nn.Parameter):
        return False
    return value.dtype == torch.float64 and value.requires_grad


def _doubles(value: Any) -> Any:
    """Return the value with its real tensors in float64: parameters may meet the map."""
    if isinstance(value, Tensor):
        return value.double() if value.dtype in (torch.float32, torch.float16) else value
    if isinstance(value, tuple | list):
        return type(value)([_doubles(each) for each in value])
    return value


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
