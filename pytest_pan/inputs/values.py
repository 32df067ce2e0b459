"""A digest of the values that objects hold: attributes, containers, tensors, functions."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import warnings
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import CodeType, FunctionType, GetSetDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_pan.inputs.digests import raw_bytes

Update = Callable[[Any], None]

_MOST_OBJECTS = 50_000
"""Objects that are looked at; more than a data set of paths and labels has."""
_MOST_FOLDERS = 8
_PLAIN = (int, float, complex, bool, bytes, type(None), torch.dtype, torch.device)
_CONTAINERS = (dict, list, tuple)
_OF_TENSORS = ("_parameters", "_buffers", "_modules")
"""Attributes of a module whose values :func:`digest_modules` finds by their names."""
_OF_PYTHON = ("__dict__", "__weakref__", "__doc__", "__slotnames__", "_abc_impl")
"""Attributes of a class that Python sets."""


def digest_values(thing: object, update: Update, *, files: bool = False) -> None:
    """Digest an object's values, breadth first, as far as Python and pickle show them.

    Of functions the code, the defaults and what their closures hold; of classes that are installed
    in no library, what they define. With ``files``, texts that name files, also in a
    folder that an earlier text names, stand for the files' size and times of change too. What is
    not seen, such as modules, does not count.
    """
    with warnings.catch_warnings(action="ignore"):  # some types deprecate being pickled
        _Walk(update, files).digest([thing])


def digest_modules(model: nn.Module, update: Update) -> None:
    """Digest what the modules hold beside each other and the values in the state dict."""
    known = model.state_dict().keys()
    walk = _Walk(update, files=False)
    modules = dict(model.named_modules())
    walk.pass_over(modules.values())
    tensors = [*model.named_parameters(), *model.named_buffers()]
    walk.pass_over(tensor for name, tensor in tensors if name in known)
    held: list[Any] = []
    for name, tensor in tensors:
        held += [name, vars(tensor), None if name in known else tensor]
    for name, module in modules.items():
        own = {key: value for key, value in vars(module).items() if key not in _OF_TENSORS}
        held += [name, own, type(module)]
    with warnings.catch_warnings(action="ignore"):
        walk.digest(held)


class _Walk:
    """A walk over objects, each once."""

    def __init__(self, update: Update, files: bool, within: _Walk | None = None) -> None:
        self._update, self._files = update, files
        self._seen: ChainMap[int, Any] = within._seen.new_child() if within else ChainMap()
        """By id; keeps them alive, so that no other object gets that id."""
        self._left: Iterator[int] = within._left if within else iter(range(_MOST_OBJECTS))
        self._paths: set[str] = within._paths if within else set()
        """Texts that were looked up as files."""
        self._folders: list[str] = within._folders if within else [""]
        """Where files of relative names may lie."""

    def pass_over(self, things: Iterable[object]) -> None:
        """Leave these objects out."""
        self._seen.update((id(one), one) for one in things)

    def digest(self, todo: list[Any]) -> None:
        for one in todo:
            if isinstance(one, str | os.PathLike):
                self._update(os.fsencode(one))
                if self._files:
                    self._digest_file(os.fspath(one))
            elif isinstance(one, _PLAIN):
                self._update(repr(one).encode())
            elif id(one) not in self._seen and next(self._left, None) is not None:
                self._seen[id(one)] = one
                if isinstance(one, AbstractSet):
                    self._digest_set(one)
                else:
                    todo += _parts(one, self._update)

    def _digest_file(self, path: str | bytes) -> None:
        """Digest size and times of change of a file, if there is one of that name."""
        path = os.fsdecode(path)
        if path in self._paths:
            return
        self._paths.add(path)
        is_name = bool(Path(path).suffix) or os.sep in path
        for folder in self._folders if is_name else [""]:
            with suppress(OSError, ValueError):
                stat = Path(folder, path).stat()
                if S_ISREG(stat.st_mode):  # the second time cannot be set back
                    times = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
                    self._update(times.encode())
                elif S_ISDIR(stat.st_mode) and path and len(self._folders) < _MOST_FOLDERS:
                    self._folders.append(path)
                return

    def _digest_set(self, things: Iterable[object]) -> None:
        """Digest each member by itself: their order depends on addresses."""
        digests = []
        for one in things:
            digest = hashlib.sha256()
            _Walk(digest.update, self._files, within=self).digest([one])
            digests.append(digest.digest())
        self._update(b"".join(sorted(digests)))


def _parts(one: Any, update: Update) -> Iterable[Any]:
    """Digest what the object is itself, and return what it holds."""
    kind = type(one)
    update(kind.__qualname__.encode())
    if isinstance(one, Tensor):
        update(f"{one.dtype} {tuple(one.shape)}".encode())
        with suppress(RuntimeError, NotImplementedError):  # lazy, meta
            update(raw_bytes(one))
        return vars(one).values()
    if isinstance(one, np.ndarray):
        update(f"{one.dtype} {one.shape}".encode())
        objects = one.tolist() if one.dtype.hasobject else ()
        if not one.dtype.hasobject:
            update(np.ascontiguousarray(one).tobytes())
        return (getattr(one, "mask", None), getattr(one, "__dict__", None), *objects)
    if isinstance(one, FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        return [one.__code__, one.__defaults__, one.__kwdefaults__, vars(one), *cells]
    if isinstance(one, CodeType):
        update(one.co_code)
        return [one.co_names, *one.co_consts]
    if isinstance(one, MethodType):
        return [one.__func__, one.__self__]
    if isinstance(one, property):
        return [one.fget, one.fset]
    if isinstance(one, staticmethod | classmethod):
        return [one.__func__]
    if isinstance(one, ModuleType | GetSetDescriptorType):
        return ()
    if isinstance(one, type):
        return _of_class(one) if _is_own_module(one.__module__) else ()
    return _of_object(one, kind)


def _of_class(kind: type) -> Iterator[Any]:
    for name, value in vars(kind).items():
        if name not in _OF_PYTHON:
            yield name
            yield value
    yield from kind.__bases__


def _of_object(one: Any, kind: type) -> Iterator[Any]:
    """Yield what an object contains, its attributes, its class, and what pickle would keep of it
    beside these.
    """
    if isinstance(one, memoryview):
        yield one.tobytes()
    elif isinstance(one, Mapping):
        for key, value in one.items():
            yield key
            yield value
    elif isinstance(one, list | tuple):
        yield from one
    if kind in _CONTAINERS:
        return
    yield getattr(one, "__dict__", None)
    yield kind
    if isinstance(one, Mapping | list | tuple | nn.Module):
        return
    with suppress(Exception):  # what cannot be pickled
        kept = one.__reduce_ex__(4)
        if isinstance(kept, tuple):
            _, arguments, state, members, pairs, *_ = (*kept, None, None, None)
            yield from (arguments, state, list(members or ()), list(pairs or ()))


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _is_own_module(module: str) -> bool:
    """Return whether a loaded module is the user's own code."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and is_own_file(file)


@lru_cache(maxsize=1024)
def is_own_file(file: str) -> bool:
    """Return whether a file lies outside the folders of Python, its libraries and this package."""
    return not any(Path(file).is_relative_to(folder) for folder in _libraries())


@cache
def _libraries() -> frozenset[str | Path]:
    paths = (sysconfig.get_path(n) for n in ("stdlib", "platstdlib", "purelib", "platlib"))
    return frozenset((*paths, Path(__file__).parents[1]))
