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
    flags, hooks, parameters and buffers are what they were, and so is what it holds in lists, dicts
    and the like, however nested, but not in objects of other classes. So are the global generators
    of Python, numpy and torch (all devices) and the numerical switches (TF32, cuDNN). This is not
    ``inference_mode``: tensors that the model caches elsewhere must stay usable in training.
    Raises :class:`InputError` as :func:`check_ready` does.
    """
    check_ready(model)
    modules = list(model.modules())
    flags = [getattr(module, "training", False) for module in modules]  # frozen scripts: none
    held = _held(modules)
    tensors = [
        (tensor, tensor.detach().clone(), tensor.requires_grad, _grad(tensor))
        for tensor in dict.fromkeys([*model.parameters(), *model.buffers(), *_tensors(held)])
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
            for value, contents in held:
                _put_back(value, contents)
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
_GENERATORS = (random.Random, np.random.RandomState, np.random.Generator, torch.Generator)
_HELD = (*_CONTAINERS, *_GENERATORS, tuple, bytearray, np.ndarray, Tensor)


def _held(modules: Iterable[nn.Module]) -> list[tuple[Any, Any]]:
    """Return what the modules hold that can change, with its contents: each once.

    Looks into containers in containers, but not into other objects. Contents of tensors are None.
    """
    found: dict[int, tuple[Any, Any]] = {}
    waiting: list[Any] = [vars(module) for module in modules]
    while waiting:
        value = waiting.pop()
        if id(value) in found:
            continue
        contents = _contents(value)
        found[id(value)] = value, contents
        if isinstance(value, (*_CONTAINERS, tuple)):
            inner = contents.values() if isinstance(contents, dict) else contents
            waiting += [e for e in inner if isinstance(e, _HELD) and not isinstance(e, np.memmap)]
    return list(found.values())


def _tensors(held: Iterable[tuple[Any, Any]]) -> list[Tensor]:
    return [value for value, _ in held if isinstance(value, Tensor)]


def _contents(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, Tensor):
        return None
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray).copy()
    return value.copy() if isinstance(value, bytearray) else list(value)


def _put_back(value: Any, contents: Any) -> None:
    """Give a container, an array or a generator the contents that it had."""
    if isinstance(value, _CONTAINERS):
        if not _identical(value, contents):
            value.clear()
            (value.extend if isinstance(value, list | deque) else value.update)(contents)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = contents
    elif isinstance(value, np.random.RandomState | torch.Generator):
        value.set_state(contents)
    elif isinstance(value, random.Random):
        value.setstate(contents)
    elif isinstance(value, bytearray):
        value[:] = contents
    elif isinstance(value, np.ndarray):
        plain = value.view(np.ndarray)  # asking a masked array for its bytes sets its fill value
        if plain.tobytes() != contents.tobytes():
            plain[...] = contents


def _identical(a: Any, b: Any) -> bool:
    ours, theirs = ([*c, *c.values()] if isinstance(c, dict) else list(c) for c in (a, b))
    return len(ours) == len(theirs) and all(x is y for x, y in zip(ours, theirs, strict=True))


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
