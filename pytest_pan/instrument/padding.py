"""Padding that tensors carry during a forward pass, followed from the pad to the convolution.

A padded tensor is remembered weakly, with what was added at each end of each dimension. Pointwise
functions keep the padding, and functions that move values (crops, views, permutations) say what is
left of it: they are applied to a mask of the unpadded part too. Concatenation with constant pieces
and assignment into a part of a buffer are pads. Where none of this holds but the result may still
be padded, its padding is marked as unclear; so is that of maps that no function in sight has made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_pan.instrument import functions
from pytest_pan.instrument.assignments import Assignments
from pytest_pan.instrument.masks import box, unpadded
from pytest_pan.instrument.sites import NO_PAD, Pad, explicit_pad

_MISTAKES = (TypeError, ValueError, IndexError, KeyError, AttributeError)
_aten = torch.ops.aten
_nn: Any = torch._C._nn


def _any_mode(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    return input, pad, mode, value


def _constant(input: Tensor, pad: Any, value: Any = 0) -> Any:
    return input, pad, "constant", value


def _reflect(input: Tensor, padding: Any) -> Any:
    return input, padding, "reflect", None


def _replicate(input: Tensor, padding: Any) -> Any:
    return input, padding, "replicate", None


_PADS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.pad, _nn.pad, _aten.pad, _aten.pad.default), _any_mode),
    torch.constant_pad_nd: _constant,
    **dict.fromkeys((_aten.constant_pad_nd, _aten.constant_pad_nd.default), _constant),
    _nn.reflection_pad2d: _reflect,
    **dict.fromkeys((_aten.reflection_pad2d, _aten.reflection_pad2d.default), _reflect),
    _nn.replication_pad2d: _replicate,
    **dict.fromkeys((_aten.replication_pad2d, _aten.replication_pad2d.default), _replicate),
}


class Padding:
    """Padding of the tensors that exist now.

    Call :meth:`before` and :meth:`after` around each function, and :meth:`of` at a convolution.
    """

    def __init__(self, is_state: Callable[[Tensor], bool] = lambda tensor: False) -> None:
        self._is_state = is_state
        """Whether the model holds a tensor."""
        self._pads = WeakTensorKeyDictionary()
        self._changed = WeakTensorKeyDictionary()
        """Tensors whose padding does not hold what the pad has put there."""
        self._assignments = Assignments()
        self._known = WeakTensorKeyDictionary()
        """Maps whose origin is known: the model's inputs, and results of functions."""

    def know(self, tensors: Iterable[object]) -> None:
        """Add the maps among inputs of the model, or results of a function in sight."""
        for each in _tensors(tensors):
            if each.dim() > 2:
                self._known[each] = True

    def _knows(self, tensor: Tensor) -> bool:
        """Return whether it was seen where a map, or the tensor it is a view of, comes from."""
        base = tensor._base
        if tensor in self._known or (base is not None and base in self._known):
            return True
        return is_functorch_wrapped_tensor(tensor) or self._is_state(tensor)

    def of(self, input: Tensor) -> Pad:
        """Return the padding of a convolution's input: of its last two dimensions."""
        pad = self._resolved(input) if self._pads else None
        if pad is None and not self._knows(input):
            return replace(NO_PAD, is_unclear=True)
        if pad is None or not (any(pad.quad) or pad.is_unclear):
            return NO_PAD
        return replace(pad, amounts=pad.quad)

    def has(self, tensor: object) -> bool:
        """Return whether a tensor is padded, or may be."""
        pad = self._settled(tensor) if isinstance(tensor, Tensor) else None
        return pad is not None and (pad.visible or pad.is_unclear)

    def put(self, output: Tensor, pad: Pad) -> None:
        """Set the padding of a map that a pointwise convolution gave."""
        if pad.visible or pad.is_unclear:
            amounts = (0,) * (2 * output.dim() - 4) + pad.quad
            self._set(output, replace(pad, amounts=amounts), is_changed=True)

    def before(self, func: Any, args: Any, kwargs: Any) -> None:
        """Note which part of a buffer a function is about to write."""
        with suppress(*_MISTAKES):  # of the model's: the function itself raises
            self._assignments.note(func, args, kwargs, self._pads.get)

    def after(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Follow the padding of the arguments into the result.

        Arguments of a kind that is not known here make the result's padding unclear.
        """
        try:
            self._after(name, func, args, kwargs, result)
        except _MISTAKES:
            for each in _tensors([result]):
                self._set(each, _unclear(each.dim()), is_changed=False)

    def _after(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if func in _PADS:
            self._pad(result, *_PADS[func](*args, **kwargs))
        elif name in functions.CONCATENATIONS:
            self._concatenate(result, *args, **kwargs)
        elif self._assignments.written(result, self._pads.get, partial(self._set, is_changed=True)):
            return
        elif name in functions.INDEXING:
            self._index(name, args, kwargs, result)
        elif self._pads and self._follow(name, args, kwargs, result):
            return
        elif isinstance(result, Tensor) and _may_pad(name, args, kwargs, result):
            self._set(result, _unclear(result.dim()), is_changed=False)

    def _settled(self, tensor: Tensor) -> Pad | None:
        """Return a tensor's padding, after a look at what surrounds the map in a buffer.

        Values that vary are no padding.
        """
        pad: Pad | None = self._pads.get(tensor)
        if pad is None or not pad.visible or tensor not in self._assignments:
            return pad
        if all(_is_constant(strip) for strip in _strips(pad, tensor)):
            return pad
        del self._pads[tensor]
        return None

    def _resolved(self, tensor: Tensor) -> Pad | None:
        """Return a tensor's padding with the mode and value that its cells have now."""
        pad = self._settled(tensor)
        if pad is not None and tensor in self._changed and pad.mode in ("zeros", "constant"):
            return _with_values(pad, tensor)
        return pad

    def _set(self, tensor: Tensor, pad: Pad | None, *, is_changed: bool) -> None:
        if pad is None or not (any(pad.amounts) or pad.is_unclear):
            self._pads.pop(tensor, None)
            return
        self._pads[tensor] = pad
        if is_changed:
            self._changed[tensor] = True

    def _pad(self, output: Tensor, input: Tensor, amounts: Any, mode: str, value: Any) -> None:
        if output.dim() < 3:
            return
        this = explicit_pad(amounts, mode, value, output.dim())
        inner = self._resolved(input)
        if inner is not None and (any(inner.quad) or inner.is_unclear or not any(this.quad)):
            this = inner.then(this) if any(this.quad) else inner
        self._set(output, this, is_changed=False)

    def _follow(self, name: str, args: Any, kwargs: Any, result: Any) -> bool:
        """Follow the padding of any argument into the results; return whether one is padded."""
        if name in functions.UNRELATED:
            return True
        arguments = _tensors((*args, *kwargs.values()))
        sources = [each for each in arguments if self._settled(each) is not None]
        if not sources:
            return False
        results = result if isinstance(result, tuple | list) else (result,)
        if name in functions.MOVES and args and args[0] is sources[0]:
            self._move(name, args, kwargs, results)
            return True
        for each in results:
            if isinstance(each, Tensor):
                self._follow_into(each, name, sources)
        return True

    def _follow_into(self, result: Tensor, name: str, sources: list[Tensor]) -> None:
        pads = {self._pads[source] for source in sources}
        shapes = {source.shape for source in sources}
        is_same = shapes == {result.shape} and len(pads) == 1
        if is_same and name in functions.SAME_VALUES | functions.POINTWISE:
            changed = name in functions.POINTWISE or sources[0] in self._changed
            self._set(result, pads.pop(), is_changed=changed)
        elif any(_is_as_large(result, source) for source in sources):
            self._set(result, _unclear(result.dim()), is_changed=False)

    def _index(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Follow an indexing; indices that enlarge a map pad it or resize it."""
        source = args[0] if args else None
        if not isinstance(source, Tensor) or not isinstance(result, Tensor):
            return
        if self._pads and self._settled(source) is not None:
            self._move(name, args, kwargs, (result,))
        elif result.dim() == source.dim() >= 3 and _is_larger(result, source):
            self._set(result, _unclear(result.dim()), is_changed=False)

    def _move(self, name: str, args: Any, kwargs: Any, results: Sequence[object]) -> None:
        """Set what is left of the first argument's padding after its values were moved."""
        source: Tensor = args[0]
        pad: Pad = self._pads[source]
        try:
            move = functions.MOVES_BY_NAME[name]
            moved = move(unpadded(source.shape, pad), *args[1:], **kwargs)
        except Exception:  # indices on another device, or of a kind that a mask does not take
            moved = [None] * len(results)
        masks = moved if isinstance(moved, tuple | list) else [moved]
        for result, mask in zip(results, masks, strict=True):
            if not isinstance(result, Tensor) or result.dim() < 2:
                continue
            amounts = None if mask is None else box(mask)
            left = _unclear(result.dim()) if amounts is None else replace(pad, amounts=amounts)
            self._set(result, left, is_changed=source in self._changed)

    def _concatenate(self, result: Tensor, *args: Any, **kwargs: Any) -> None:
        """Note constant pieces in front of and behind a map as padding."""
        pieces = kwargs.get("tensors", args[0] if args else ())
        pieces = [piece for piece in pieces if piece.numel()]
        dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
        if not isinstance(dim, int) or result.dim() < 3 or len(pieces) < 2:
            return
        dim %= result.dim()
        if dim < result.dim() - 2:
            if not self._pads:
                return
            pads = {self._settled(piece) for piece in pieces}
            common = pads.pop() if len(pads) == 1 else _unclear(result.dim())
            self._set(result, common, is_changed=True)
            return
        varying = [at for at, piece in enumerate(pieces) if not _is_constant(piece)]
        if len(varying) > 1:
            self._set(result, _unclear(result.dim()), is_changed=False)
        elif varying:
            self._surround(result, pieces, varying[0], dim)

    def _surround(self, result: Tensor, pieces: Sequence[Tensor], at: int, dim: int) -> None:
        amounts = [0] * (2 * result.dim())
        amounts[2 * dim] = sum(piece.shape[dim] for piece in pieces[:at])
        amounts[2 * dim + 1] = sum(piece.shape[dim] for piece in pieces[at + 1 :])
        outer = _with_values(Pad(amounts=tuple(amounts), mode="zeros"), result)
        inner = self._resolved(pieces[at])
        self._set(result, outer if inner is None else inner.then(outer), is_changed=False)


def _may_pad(name: str, args: Any, kwargs: Any, result: Tensor) -> bool:
    """Return whether a function without padded arguments may have padded a map it took."""
    if name in functions.PADS_NOTHING or "conv" in name or result.dim() < 3:
        return False
    if name in functions.PRODUCTS and not any(map(_selects, _all_tensors(args, kwargs))):
        return False
    maps = [each for each in _tensors((*args, *kwargs.values())) if each.dim() == result.dim()]
    if name in ("grid_sample", "grid_sampler", "grid_sampler_2d"):
        return True
    return bool(maps) and all(_is_larger(result, each) for each in maps)


def _all_tensors(args: Any, kwargs: Any) -> Iterator[Tensor]:
    yield from _tensors((*args, *kwargs.values()))
    for each in args:  # einsum takes a list, too
        if isinstance(each, tuple | list):
            yield from _tensors(each)


def _selects(matrix: Tensor) -> bool:
    """Return whether a matrix has an outer row or column of zeros, but for one value at most.

    Those of a matrix that pads copy one cell or none.
    """
    if matrix.dim() < 2 or not matrix.numel():
        return False
    ends = [0, -1]
    lines = (matrix[..., ends, :].count_nonzero(-1), matrix[..., ends].count_nonzero(-2))
    return min(matrix.shape[-2:]) > 1 and any(bool((counts <= 1).any()) for counts in lines)


def _tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, tuple | list):
            yield from (each for each in argument if isinstance(each, Tensor))


def _is_constant(piece: Tensor) -> bool:
    """Return whether each plane of a tensor holds one value only."""
    return bool((piece == piece[..., :1, :1]).all())


def _unclear(dims: int) -> Pad:
    return Pad(amounts=(0,) * (2 * dims), mode="zeros", is_unclear=True)


def _is_as_large(result: Tensor, source: Tensor) -> bool:
    if result.dim() < 3 or source.dim() < 3:
        return False
    has_room = all(result.shape[at] >= source.shape[at] for at in (-2, -1))
    return has_room or result.numel() >= source.numel()


def _is_larger(result: Tensor, source: Tensor) -> bool:
    return any(result.shape[at] > source.shape[at] for at in (-2, -1))


def _strips(pad: Pad, input: Tensor) -> list[Tensor]:
    """Return the padded rows, and the padded columns, of a tensor."""
    top, bottom, left, right = (max(amount, 0) for amount in pad.quad)
    height, width = input.shape[-2:]
    rows = torch.cat([input[..., :top, :], input[..., height - bottom :, :]], -2)
    columns = torch.cat([input[..., :left], input[..., width - right :]], -1)
    return [strip for strip in (rows, columns) if strip.numel()]


def _with_values(pad: Pad, input: Tensor) -> Pad:
    """Return the pad with the mode that its cells show: zeros, or other values."""
    strips = _strips(pad, input)
    if not any(strip.count_nonzero() for strip in strips):
        return replace(pad, mode="zeros", value=0.0)
    first = strips[0].flatten()[0]
    value = float(first) if all((strip == first).all() for strip in strips) else math.nan
    return replace(pad, mode="constant", value=value)
