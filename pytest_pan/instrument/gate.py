"""Entry to the user's model: its state, and all of PyTorch's, is as before on leaving."""

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
from torch.overrides import TorchFunctionMode

from pytest_pan.instrument import numerics
from pytest_pan.instrument.sites import site_name
from pytest_pan.records.errors import InputError

_CPU = torch.device("cpu")


@contextmanager
def borrowed(
    model: nn.Module, *, seed: int, precision: str = "float32", device: torch.device = _CPU
) -> Iterator[nn.Module]:
    """Lend the model in evaluation mode, without gradients, uncompiled, random generators seeded.

    Its forward pass runs on ``device`` in ``precision``. Afterwards every module's attributes,
    flags, hooks, parameters and buffers are what they were, and so are the global generators of
    Python, numpy and torch (all devices) and the numerical switches (TF32, cuDNN). This is not
    ``inference_mode``: tensors that the model caches elsewhere must stay usable in training.
    Raises :class:`InputError` as :func:`check_ready` does.
    """
    check_ready(model)
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


def check_ready(model: nn.Module) -> None:
    """Raise :class:`InputError` if a parameter or buffer is lazy or on the meta device."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kind = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
        if is_lazy(tensor):
            raise InputError(
                f"lazy {kind} is not initialised",
                where=site_name(name),
                next="Run the model once on one image before the audit.",
            )
        if tensor.is_meta:
            raise InputError(
                f"{kind} is on the meta device and has no values",
                where=site_name(name),
                next="Move the model with to_empty() and load its weights before the audit.",
            )


def _eagerly() -> AbstractContextManager[Any]:
    """Run compiled parts of the model uncompiled; do not import the compiler if nothing was."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def kept_randomness(seed: int, *, gpus: bool = True) -> Iterator[None]:
    """Seed the global generators inside the block, and restore them afterwards.

    ``gpus``: include the generators of GPUs.
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
    """Return the model itself if it is on the device, else a copy there."""
    if device.type != "meta":
        check_ready(model)
    places = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if places <= {device}:
        return model
    try:
        return _deep_copy(model).to(device)
    except Exception as error:
        raise InputError(
            f"cannot copy the model to {device} ({type(error).__name__}: {error})",
            where=type(model).__name__,
            next="Move it there yourself, or pass device= the one it is on.",
        ) from error


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of the model; its tensors that have a history lose it.

    Such are the weights that the old ``weight_norm`` and ``spectral_norm`` compute in each forward
    pass. Raises :class:`InputError` for a model that cannot be copied.
    """
    try:
        return _deep_copy(model)
    except Exception as error:
        raise InputError(
            f"cannot copy the model ({type(error).__name__}: {error})",
            where=type(model).__name__,
            next="Does it hold a lock, a file or a generator? Give it a __deepcopy__ without it.",
        ) from error


class _WithoutHistory(TorchFunctionMode):
    """Lets deepcopy copy tensors that have a history, which it refuses otherwise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def _deep_copy(model: nn.Module) -> nn.Module:
    with _WithoutHistory():
        return copy.deepcopy(model)


_CONTAINERS = (dict, list, set, deque)
_Saved = dict[str, tuple[Any, Any]]
"""By name: an attribute and, if it is a container, its contents."""


def _attributes(module: nn.Module) -> _Saved:
    """Return a module's own state: tables of parameters and hooks, flags, caches."""
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
    """Return parameters, buffers and other tensors that the modules hold, each once."""
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
    """Return whether two tensors are equal bit for bit: NaN equals NaN."""
    if a.is_quantized or a.layout != torch.strided:
        return False
    return torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8)
