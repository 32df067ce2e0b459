"""Models from what users have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pytest_pan.inputs.digests import model_digest
from pytest_pan.instrument.gate import check_ready, copied, kept_randomness
from pytest_pan.records.errors import ConfigError, InputError


def load_model(model: object, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Return an ``nn.Module``, or the one that ``"module:callable"`` gives with ``arguments``.

    Wrappers of torch.compile and of data parallelism are taken off. Raises :class:`InputError`
    for TorchScript, for what is no module, and for a callable that fails (a missing weights file).
    """
    where = f"model {model!r}" if isinstance(model, str) else "model"
    if isinstance(model, str):
        model = called(model, arguments or {}, "model")
    while isinstance(model, nn.Module):
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise InputError(
            "TorchScript hides its convolutions",
            where=where,
            got=type(model).__name__,
            allowed="the nn.Module it was made from",
            next="Audit the eager model before scripting or tracing it.",
        )
    if not isinstance(model, nn.Module):
        raise InputError(
            "not a model",
            where=where,
            got=type(model).__name__,
            allowed="a torch.nn.Module, or 'module:callable' that returns one",
        )
    check_ready(model)
    return model


def called(spec: str, arguments: Mapping[str, Any], what: str) -> object:
    """Import ``"module:callable"`` and call it with ``arguments``; a model itself is not called.

    Errors say ``what`` it is for, such as "model".
    """
    target = named(spec, what)
    try:
        return target if isinstance(target, nn.Module) else target(**arguments)
    except Exception as error:
        raise InputError(
            f"{type(error).__name__}: {error}",
            where=f"{what} {spec!r} with {dict(arguments)}",
            next="Check that the module can be imported from here and finds its weights file.",
        ) from error


def named(spec: str, what: str) -> Any:
    """Import the object that ``"module:attribute"`` names; errors say ``what`` it is for."""
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise InputError(
            what,
            got=repr(spec),
            allowed="'module:callable'",
            next="For example 'torchvision.models:mobilenet_v2'.",
        )
    try:
        target: Any = importlib.import_module(module)
        for part in attribute.split("."):
            target = getattr(target, part)
    except Exception as error:
        raise InputError(
            f"{type(error).__name__}: {error}",
            where=f"{what} {spec!r}",
            next="Is the module importable from here?",
        ) from error
    return target


def untrained(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Return a copy of the model with all parameters initialised anew.

    Its PANs are those that the architecture shows before it has learned anything.
    """
    twin = copied(model)
    with kept_randomness(seed):
        for module in twin.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                _renormalise(module)
    return twin


def _renormalise(module: nn.Module) -> None:
    """Set the parameters of a weight that ``weight_norm`` computes to the value it was reset to."""
    for name in [name for name in module._parameters if name.endswith("_g")]:
        length, direction = (module._parameters.get(name[:-1] + end) for end in "gv")
        weight = getattr(module, name[:-2], None)
        if length is not None and direction is not None and isinstance(weight, torch.Tensor):
            direction.data.copy_(weight)
            length.data.copy_(torch.norm_except_dim(weight, 2, 0))


def name_of(given: object, model: nn.Module, name: str = "") -> str:
    """Return ``name``, or the name of the callable in ``"module:callable"``, or of the class."""
    called = given.partition(":")[2] if isinstance(given, str) else ""
    return name or called or type(model).__name__


def model_facts(model: nn.Module, name: str = "") -> dict[str, Any]:
    """Return what identifies a model: name, digest and number of parameters."""
    return {
        "name": name or type(model).__name__,
        "digest": model_digest(model),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def class_names(given: object, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of classes from a sequence or from torchvision weights (their metadata).

    ``default``: the names that the data set has, used where none are given. Raises
    :class:`ConfigError` for anything else.
    """
    if given is None:
        return default
    meta = getattr(given, "meta", None)
    names: Any = meta.get("categories", ()) if isinstance(meta, Mapping) else given
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(
            "classes", got=type(given).__name__, allowed="a sequence of names, or weights"
        )
    return tuple(str(name) for name in names)
