"""Assignments of a map into a part of a larger buffer, which pad it with the buffer's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_pan.instrument.masks import box, unpadded
from pytest_pan.instrument.sites import Pad

_BY_INDEX = ("index_copy", "index_add", "index_put", "masked_scatter", "scatter", "scatter_add")
"""Functions that write a map to cells chosen by a tensor; their in-place forms too."""


@dataclass
class _Written:
    """Cells of a buffer that maps were assigned to."""

    mask: Tensor
    """bool; a leading dimension that all assignments cover has size 1."""
    parts: int = 0
    """Number of assignments that covered new cells, but not whole planes."""


@dataclass
class _Write:
    """An assignment that is about to run."""

    buffer: Tensor
    cells: tuple[range, ...] | None
    """In each dimension; None if they are no box."""
    value: Tensor
    is_new: bool
    """Whether the function returns the written buffer and leaves its argument as it is."""


class Assignments:
    """Buffers that a part of was assigned to; call :meth:`note` before, :meth:`written` after."""

    def __init__(self) -> None:
        self._buffers = WeakTensorKeyDictionary()
        self._next: _Write | None = None

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._buffers

    def note(self, func: Any, args: Any, kwargs: Any, padding: Callable[[Tensor], Any]) -> None:
        """Note what a function is about to write, if it is a part of a buffer's planes."""
        self._next = None
        if not _may_write(func, kwargs):
            return
        write = _write(func, args, kwargs)
        if write is not None and write.cells is not None:
            sizes = write.buffer.shape
            whole = all(len(write.cells[at]) == sizes[at] for at in (-2, -1))
            if whole and write.buffer not in self._buffers and padding(write.buffer) is None:
                write = None
        self._next = write

    def written(
        self, result: object, padding: Callable[[Tensor], Any], set_pad: Callable[..., None]
    ) -> bool:
        """Set the padding of the buffer that was written; return whether one was."""
        if self._next is None:
            return False
        write, self._next = self._next, None
        target = result if write.is_new and isinstance(result, Tensor) else write.buffer
        nothing = (0,) * (2 * target.dim())
        if write.cells is None:
            set_pad(target, Pad(amounts=nothing, mode="zeros", is_unclear=True))
            return True
        state = self._state(write.buffer, padding(write.buffer))
        state.parts += _add(state, write, write.cells, padding(write.value))
        self._buffers[target] = state
        amounts = box(state.mask)
        is_unclear = amounts is None or (not any(amounts) and state.parts > 1)
        amounts = nothing if amounts is None else amounts
        set_pad(target, Pad(amounts=amounts, mode="zeros", is_unclear=is_unclear))
        base = target._base
        if base is not None and base.shape != target.shape and padding(base) is None:
            # other views of it may be used
            set_pad(base, Pad(amounts=(0,) * (2 * base.dim()), mode="zeros", is_unclear=True))
        return True

    def _state(self, buffer: Tensor, pad: Pad | None) -> _Written:
        known: _Written | None = self._buffers.get(buffer)
        if known is not None:
            return _Written(known.mask.clone(), known.parts)
        small = (*(1 for _ in buffer.shape[:-2]), *buffer.shape[-2:])
        if pad is None or not pad.visible:
            return _Written(torch.zeros(small, dtype=torch.bool, device="cpu"))
        return _Written(unpadded(buffer.shape, pad).clone(), 1)


def _add(state: _Written, write: _Write, written: Sequence[range], inner: Pad | None) -> bool:
    """Add the written cells to the mask; return whether new ones are in it, but no whole planes."""
    sizes = write.buffer.shape
    for dim, cells in enumerate(written[:-2]):
        if len(cells) < sizes[dim] and state.mask.shape[dim] < sizes[dim]:
            shape = [*state.mask.shape]
            shape[dim] = sizes[dim]
            state.mask = state.mask.expand(shape).clone()
    index = tuple(
        slice(None) if state.mask.shape[dim] == 1 else slice(c.start, c.stop, c.step)
        for dim, c in enumerate(written)
    )
    value = write.value
    part: Any = True
    if inner is not None and inner.visible and value.dim() == len(sizes):
        small = [slice(0, 1 if size == 1 else None) for size in state.mask.shape]
        part = unpadded(value.shape, inner)[tuple(small)]
    before = int(state.mask.sum())
    state.mask[index] |= part
    whole = all(len(written[at]) == sizes[at] for at in (-2, -1))
    return int(state.mask.sum()) > before and not whole


def _may_write(func: Any, kwargs: Any) -> bool:
    """Return whether a function may write to a part of a buffer: a quick look at its name."""
    name = str(getattr(func, "__name__", "")).partition(".")[0]
    return name.endswith("_") or name in _BY_INDEX or name == "slice_scatter" or "out" in kwargs


def _write(func: Any, args: Any, kwargs: Any) -> _Write | None:
    name = str(getattr(func, "__name__", "")).partition(".")[0]
    if name == "slice_scatter":
        return _scattered(*args, **kwargs)
    if name.rstrip("_") in _BY_INDEX and args[0].dim() >= 3 and any(map(_is_map, args[1:])):
        return _Write(args[0], None, args[0], not name.endswith("_"))
    if name == "__setitem__" and args[0].dim() >= 3 and _is_map(args[2]):
        base, cells = args[0]._base, _cells(args[0].shape, args[1])
        if base is not None and base.dim() > args[0].dim() and cells is not None:
            return _through_view(args[0][args[1]], args[2])  # an image of a batch
        return _Write(args[0], cells, args[2], False)
    out = kwargs.get("out")
    if isinstance(out, Tensor):
        return _through_view(out, out)
    is_in_place = name.endswith("_") and (not name.startswith("__") or name.startswith("__i"))
    if is_in_place and len(args) > 1 and isinstance(args[0], Tensor) and _is_map(args[1]):
        return _through_view(args[0], args[1])
    return None


def _through_view(view: Tensor, value: Tensor) -> _Write | None:
    """Return what writing to a view of a buffer writes to the buffer."""
    base = view._base
    if base is None or base.dim() < 3:
        return None
    cells = _cells_of_view(view, base)
    if cells is None and view.numel() == base.numel():
        return None  # all of it in another shape
    return _Write(base, cells, value, False)


def _scattered(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> _Write | None:
    if input.dim() < 3:
        return None
    cells = [range(size) for size in input.shape]
    cells[dim] = cells[dim][start:end:step]
    return _Write(input, tuple(cells), src, True)


def _is_map(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() >= 2


def _cells(shape: Sequence[int], index: Any) -> tuple[range, ...] | None:
    """Return the cells that an index selects, in each dimension; None if it is not of slices."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(part, slice | int) and part is not Ellipsis for part in parts):
        return None
    if any(isinstance(part, bool) for part in parts):
        return None
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    cells = []
    for size, part in zip(shape, parts, strict=True):
        line = range(size)
        cells.append(line[part] if isinstance(part, slice) else range(line[part], line[part] + 1))
    return tuple(cells)


def _cells_of_view(view: Tensor, base: Tensor) -> tuple[range, ...] | None:
    """Return the cells of a tensor that a view of it shows; None if it is no box of them.

    The view's dimensions are found among the tensor's by their strides: an index leaves some out.
    """
    rest = int(view.storage_offset()) - int(base.storage_offset())
    strides = [int(stride) for stride in base.stride()]
    order = [dim for dim, size in enumerate(base.shape) if size > 1 and strides[dim]]
    cells = [range(1)] * base.dim()
    order.sort(key=lambda dim: -strides[dim])
    for dim in order:
        start, rest = divmod(rest, strides[dim])
        cells[dim] = range(start, start + 1)
    for size, stride in zip(view.shape, map(int, view.stride()), strict=True):
        if size == 1:
            continue
        dim = next((dim for dim in order if stride and stride % strides[dim] == 0), -1)
        if dim < 0 or len(cells[dim]) > 1:
            return None
        start, step = cells[dim].start, stride // strides[dim]
        cells[dim] = range(start, start + step * size, step)
        if cells[dim][-1] >= base.shape[dim]:
            return None
    return None if rest else tuple(cells)
