"""The one gate into the user's model: what it lets in comes out as it was, also after an error."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from pytest_pan.errors import InputError

_TABLES = ("_parameters", "_buffers", "_modules")


@contextmanager
def borrowed(model: nn.Module, *, seed: int) -> Iterator[nn.Module]:
    """The model in evaluation mode under ``inference_mode``, random generators seeded.

    Afterwards every module's attributes, flags and buffers are what they were, and so are the
    global generators of Python, numpy and torch (all devices). Raises :class:`InputError` for
    lazy modules that never ran.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise InputError(
                "lazy parameter is not initialised",
                where=name,
                next="Run the model once on one image before the audit.",
            )
    attributes = [(module, _attributes(module)) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with kept_randomness(seed):
        try:
            for module, _ in attributes:
                module.training = False
            with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
                yield model
        finally:
            for module, before in attributes:
                _put_back(module, before)
            with torch.no_grad():
                for buffer, value in buffers:
                    if not _same(buffer, value):
                        buffer.copy_(value)


@contextmanager
def kept_randomness(seed: int) -> Iterator[None]:
    """Global generators seeded inside and as before afterwards, so that a data set's random
    transforms give the same images each time and the user's own draws are not disturbed.
    """
    python, legacy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself where it lies on the device already, else a copy there."""
    places = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if places <= {device}:
        return model
    try:
        return copy.deepcopy(model).to(device)
    except Exception as error:
        raise InputError(
            f"cannot copy the model to {device} ({type(error).__name__}: {error})",
            where=type(model).__name__,
            next="Move it there yourself, or pass device= the one it is on.",
        ) from error


def _attributes(module: nn.Module) -> dict[str, Any]:
    saved = dict(vars(module))
    for table in _TABLES:
        if table in saved:
            saved[table] = dict(saved[table])
    return saved


def _put_back(module: nn.Module, before: dict[str, Any]) -> None:
    now = vars(module)
    for name in [name for name in now if name not in before]:
        del now[name]
    for name, value in before.items():
        if name in _TABLES:
            table = now[name]
            if list(table) != list(value) or any(table[k] is not v for k, v in value.items()):
                table.clear()
                table.update(value)
        elif now.get(name) is not value:
            now[name] = value


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, so that NaN equals NaN and an untouched buffer is not written to."""
    return bool(((a == b) | ((a != a) & (b != b))).all())
