"""The one gate into the user's model: what it lets in comes out as it was, also after an error."""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pytest_pan.instrument import numerics
from pytest_pan.records.errors import InputError

_CPU = torch.device("cpu")


@contextmanager
def borrowed(
    model: nn.Module, *, seed: int, precision: str = "float32", device: torch.device = _CPU
) -> Iterator[nn.Module]:
    """The model in evaluation mode, without gradients, uncompiled, random generators seeded, its
    forward pass on ``device`` in ``precision``.

    Afterwards every module's attributes, flags, hooks, parameters and buffers are what they were,
    and so are the global generators of Python, numpy and torch (all devices) and the numerical
    switches (TF32, cuDNN). Not under
    ``inference_mode``: what the model caches beyond our reach must stay usable in training.
    Raises :class:`InputError` for lazy modules that never ran.
    """
    _refuse_lazy(model)
    modules = list(model.modules())
    flags = [getattr(module, "training", False) for module in modules]  # frozen scripts: none
    attributes = [(vars(module), _attributes(module)) for module in modules]
    tensors = [
        (tensor, tensor.detach().clone(), tensor.requires_grad, _grad(tensor))
        for tensor in _leaves(model, attributes)
    ]
    with kept_randomness(seed), numerics.chosen(precision):
        try:
            vars(model)["forward"] = numerics.casting(model, precision, device)
            for module, flag in zip(modules, flags, strict=True):
                if flag:
                    module.training = False
            with torch.no_grad(), _eagerly():
                yield model
        finally:
            for now, before in attributes:
                _put_back(now, before)
            for module, flag in zip(modules, flags, strict=True):
                if flag:  # again: TorchScript keeps it elsewhere
                    module.training = flag
            for tensor, value, requires_grad, grad in tensors:
                _write_back(tensor, value, requires_grad, grad)


def _refuse_lazy(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
            raise InputError(
                f"lazy {kind} is not initialised",
                where=name,
                next="Run the model once on one image before the audit.",
            )


def _eagerly() -> AbstractContextManager[Any]:
    """Compiled parts of the model run as they were written; where nothing has been compiled,
    the compiler is not imported for it.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def kept_randomness(seed: int, *, gpus: bool = True) -> Iterator[None]:
    """Global generators seeded inside and as before afterwards, so that what is drawn inside is
    the same each time and the user's own draws are not disturbed; with or without the GPUs'.
    """
    python, legacy = random.getstate(), np.random.get_state()
    seeded = gpus and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if seeded else []
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed % 2**64)
            if devices:
                torch.cuda.manual_seed_all(seed % 2**64)
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


_CONTAINERS = (dict, list, set, deque)
_Saved = dict[str, tuple[Any, Any]]
"""By name, an attribute and, where it is a container, what it contained."""


def _attributes(module: nn.Module) -> _Saved:
    """A module's own state: tables of parameters and hooks, flags, caches."""
    saved: _Saved = {}
    for name, value in vars(module).items():
        contents: Any = None
        if isinstance(value, _CONTAINERS):
            contents = dict(value) if isinstance(value, dict) else list(value)
        saved[name] = value, contents
    return saved


def _put_back(now: dict[str, Any], before: _Saved) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    for name, (value, contents) in before.items():
        if name not in now or now[name] is not value:
            now[name] = value
        if contents is not None and not _identical(value, contents):
            value.clear()
            (value.extend if isinstance(value, list | deque) else value.update)(contents)


def _identical(a: Any, b: Any) -> bool:
    ours, theirs = ([*c, *c.values()] if isinstance(c, dict) else list(c) for c in (a, b))
    return len(ours) == len(theirs) and all(x is y for x, y in zip(ours, theirs, strict=True))


def _leaves(model: nn.Module, attributes: Iterable[tuple[Any, _Saved]]) -> list[Tensor]:
    """Parameters, buffers and whatever tensors the modules keep, each once."""
    found: list[Any] = [*model.parameters(), *model.buffers()]
    for _, saved in attributes:
        for value, contents in saved.values():
            found.append(value)
            found += contents.values() if isinstance(contents, dict) else contents or ()
    return list({value: None for value in found if isinstance(value, Tensor)})


def _write_back(tensor: Tensor, value: Tensor, requires_grad: bool, grad: Tensor | None) -> None:
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        tensor.data = value
    elif not _same(tensor, value):
        with torch.inference_mode(tensor.is_inference()):
            tensor.detach().copy_(value)
    if tensor.is_leaf:
        if tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
        if tensor.grad is not grad:
            tensor.grad = grad


def _grad(tensor: Tensor) -> Tensor | None:
    return tensor.grad if tensor.is_leaf else None  # asking others warns


def _same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, so that NaN equals NaN and an untouched tensor is not written to."""
    if a.is_quantized or a.layout != torch.strided:
        return False
    return torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8)
