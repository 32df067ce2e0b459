"""PyTorch's numerical switches: set for an audit, and restored."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_MATMUL = {"highest": ("ieee", "ieee"), "high": ("tf32", "tf32"), "medium": ("tf32", "bf16")}
"""Precisions of float32 matrix products, on CUDA and on the CPU, by the older name."""


@contextmanager
def chosen(precision: str) -> Iterator[None]:
    """Make cuDNN deterministic, without benchmarking; allow TF32 if ``precision`` is tf32.

    All switches are restored afterwards, also if the model changed them.
    """
    cudnn = torch.backends.cudnn
    repeatable = cudnn.deterministic, cudnn.benchmark
    with warnings.catch_warnings(action="ignore"):  # torch 2.9 warns of the older names
        put_back = _remember()
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        with warnings.catch_warnings(action="ignore"):
            _allow_tf32(precision == "tf32")
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = repeatable
        with warnings.catch_warnings(action="ignore"):
            put_back()


def casting(model: nn.Module, precision: str, device: torch.device) -> Callable[..., Any]:
    """Return the model's forward pass, under autocast for half precisions only.

    An autocast around the audit has no effect.
    """
    forward = model.forward
    dtype = _HALVES.get(precision)

    @wraps(forward)
    def cast(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return forward(*args, **kwargs)

    return cast


def _allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    for switch in _switches()[-2:]:  # the line above leaves them to their parents, if off
        switch.fp32_precision = "tf32" if allowed else "ieee"


def _switches() -> list[Any]:
    """Return what has an ``fp32_precision``, in torch 2.9 and later; none in older versions.

    Matrix products on CUDA and on the CPU, cuDNN's recurrent layers and its convolutions.
    """
    cudnn: Any = torch.backends.cudnn
    if not hasattr(cudnn, "fp32_precision"):
        return []
    backends: Any = torch.backends
    return [backends.cuda.matmul, backends.mkldnn.matmul, cudnn.rnn, cudnn.conv]


def _remember() -> Callable[[], None]:
    """Return a function that restores the TF32 switches.

    There are two sets of them. The older names raise when asked while the newer ones disagree
    with them, so the newer ones are made to agree for as long as that takes; and those inherit
    from their parents, which are silenced meanwhile.
    """
    switches = _switches()
    if not switches:
        legacy = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        return lambda: _write(legacy, [], [])
    backends: Any = torch.backends
    parents = [backends, backends.cudnn]
    inherited = [parent.fp32_precision for parent in parents]
    inherited[1] = "none" if inherited[1] == inherited[0] else inherited[1]
    _set(parents, ["none", "none"])
    own = [switch.fp32_precision for switch in switches]
    legacy = _legacy_matmul(switches), _legacy_cudnn(switches)
    _set([*switches, *parents], [*own, *inherited])
    return lambda: _write(legacy, [*switches, *parents], [*own, *inherited])


def _legacy_matmul(switches: list[Any]) -> str:
    for name, precisions in _MATMUL.items():
        _set(switches[:2], precisions)
        try:
            if torch.get_float32_matmul_precision() == name:
                return name
        except RuntimeError:
            continue
    return "highest"


def _legacy_cudnn(switches: list[Any]) -> bool:
    _set(switches[2:], ("tf32", "tf32"))
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return False


def _write(legacy: tuple[str, bool], places: list[Any], values: list[str]) -> None:
    torch.set_float32_matmul_precision(legacy[0])
    torch.backends.cudnn.allow_tf32 = legacy[1]
    _set(places, values)


def _set(places: list[Any], values: Any) -> None:
    for place, value in zip(places, values, strict=True):
        place.fp32_precision = value
