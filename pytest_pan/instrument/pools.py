"""Pool calls: their windows, their padding and their output, however they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pytest_pan.instrument import functions
from pytest_pan.instrument.sites import Pad, pair

_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
_NAMES = {
    "max_pool2d": _MAX,
    "max_pool2d_with_indices": _MAX,
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode"),
    "lp_pool2d": ("input", "norm_type", "kernel_size", "stride", "ceil_mode"),
}
"""Pools with windows of a fixed size, with the names of their arguments in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolArguments:
    """Arguments of a pool with windows of a fixed size."""

    kind: str
    """``max``, ``avg`` or ``lp``."""
    input: Tensor
    """(N, C, H, W), or (C, H, W) without a batch."""
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    own: Pad
    ceil_mode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCall(PoolArguments):
    """One call of a pool: its arguments, the padding in front of it, its output."""

    name: str
    """Of the module; with ``(max_pool2d)`` where a module does more than to pool, and with ``#2``,
    ``#3``, ... for further calls."""
    before: Pad
    output: Tensor

    @property
    def map(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self.output.shape[-2], self.output.shape[-1]


def pool_arguments(func: Any, args: Any, kwargs: Any) -> PoolArguments | None:
    """Return the arguments if the function is a pool with windows of a fixed size, else None."""
    name = functions.name_of(func)
    if name not in _NAMES:
        return None
    named = dict(zip(_NAMES[name], args, strict=False)) | kwargs
    kernel = pair(named["kernel_size"])
    rows, columns = pair(named.get("padding", 0))
    return PoolArguments(
        kind=name.partition("_")[0],
        input=named["input"],
        kernel=kernel,
        stride=pair(named.get("stride") or kernel),
        dilation=pair(named.get("dilation", 1)),
        own=Pad(amounts=(rows, rows, columns, columns), mode="zeros"),
        ceil_mode=bool(named.get("ceil_mode", False)),
    )
