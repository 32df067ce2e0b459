"""A digest of the values that objects hold: attributes, containers, tensors, functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_pan.inputs.digests import raw_bytes

Update = Callable[[Any], None]

_MOST_OBJECTS = 50_000
"""Objects that are looked at; more than a data set of paths and labels has."""
_PLAIN = (int, float, complex, bool, bytes, type(None), torch.dtype, torch.device)
_OF_TENSORS = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that are digested elsewhere."""


def digest_values(thing: object, update: Update, *, files: bool = False) -> None:
    """Digest an object's values, breadth first, as far as Python shows them.

    Of functions the code, the defaults and what their closures hold. With ``files``, texts that
    name files stand for the files' size and time of change too. What is not seen, such as values
    inside extension types, does not count.
    """
    seen: set[int] = set()
    todo: list[Any] = [thing]
    for one in todo:
        if id(one) in seen or len(seen) > _MOST_OBJECTS:
            continue
        if isinstance(one, str | os.PathLike):
            update(os.fsencode(one))
            if files:
                _digest_file(Path(one), update)
        elif isinstance(one, _PLAIN):
            update(repr(one).encode())
        else:
            seen.add(id(one))
            todo += _parts(one, update)


def _parts(one: Any, update: Update) -> Iterable[Any]:
    """Digest what the object is itself, and return what it holds."""
    update(type(one).__qualname__.encode())
    if isinstance(one, Tensor):
        with suppress(RuntimeError, NotImplementedError):  # lazy, meta
            update(raw_bytes(one))
        return vars(one).values()
    if isinstance(one, np.ndarray):
        if not one.dtype.hasobject:
            update(np.ascontiguousarray(one).view(np.uint8).data)
        return (getattr(one, "mask", None), *(one.tolist() if one.dtype.hasobject else ()))
    if isinstance(one, Mapping):
        return [part for pair in one.items() for part in pair]
    if isinstance(one, AbstractSet):
        return sorted(one, key=repr)
    if isinstance(one, list | tuple):
        return one
    if isinstance(one, FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        return [one.__code__, one.__defaults__, one.__kwdefaults__, *cells]
    if isinstance(one, CodeType):
        update(one.co_code)
        return [one.co_names, *one.co_consts]
    if isinstance(one, MethodType):
        return [one.__func__, one.__self__]
    if isinstance(one, type | ModuleType):
        return ()
    held = {k: v for k, v in getattr(one, "__dict__", {}).items() if k not in _OF_TENSORS}
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*held.items(), *(getattr(one, name, None) for name in slots)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _digest_file(path: Path, update: Update) -> None:
    """Digest size and time of change of a file, if there is one of that name."""
    with suppress(OSError, ValueError):
        if path.suffix and (stat := path.stat()):
            update(f"{stat.st_size} {stat.st_mtime_ns}".encode())


def digest_modules(model: nn.Module, update: Update) -> None:
    """Digest what the modules hold beside parameters, buffers and each other."""
    for name, module in model.named_modules():
        update(name.encode())
        digest_values(module, update)
