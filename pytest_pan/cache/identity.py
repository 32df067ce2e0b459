"""What decides a forward pass, as one digest: weights, values and code. What it cannot see through
it refuses, so that nothing is taken for something else.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as registry

from pytest_pan.cache import reach
from pytest_pan.cache.reach import OpaqueError
from pytest_pan.inputs.digests import raw_bytes

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range)
_TENSORS = (Tensor, nn.Parameter, nn.Buffer)
_TORCH = (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)
_BUILT_IN = (
    BuiltinFunctionType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
    np.ufunc,
)
_CACHED = functools._lru_cache_wrapper
_SLOTS = (GetSetDescriptorType, MemberDescriptorType)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, MappingProxyType)
_NOT_OF_THE_PASS = {
    "training",  # an audit is in evaluation mode
    "_compiled_call_impl",
    "_is_full_backward_hook",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_non_persistent_buffers_set",
    "_forward_hooks_with_kwargs",  # by numbers that differ from process to process
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
}
_MOST = 200_000
"""Things looked at before it is given up: some object leads to half of the process."""


def identity(*things: object) -> str:
    """SHA-256 of all that decides what these models and functions compute, in evaluation mode.

    Of a model: its modules with their parameters, buffers, hooks and other attributes. Of code
    that is the user's: the bytecode that a forward pass can reach, what closures hold, defaults,
    and the globals it reads; of an installed package the version. Raises :class:`OpaqueError`,
    which names the place, for what cannot be seen through (an object made in C) and for code
    that reads more than its arguments (files, the clock, the environment).
    """
    walk = _Walk()
    try:
        for number, thing in enumerate(things):
            walk.visit(thing, type(thing).__name__ if number == 0 else f"argument {number}")
        for hooks in (registry._global_forward_pre_hooks, registry._global_forward_hooks):
            walk.visit(list(hooks.values()), "a global hook")
        walk.members()
    except RecursionError:
        raise OpaqueError(type(things[0]).__name__, "is nested too deeply") from None
    return walk.digest.hexdigest()


class _Walk:
    """One walk over things; each object is told once, and by its number when it comes again."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._seen: dict[int, tuple[int, object]] = {}
        self._classes: list[type] = []
        self._made: set[type] = set()
        self._names = set(reach.ALWAYS)
        self._told: set[tuple[int, str]] = set()

    def _tell(self, kind: str, data: bytes | memoryview | str = b"") -> None:
        raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
        self.digest.update(f"{kind}:{len(raw)}:".encode())
        self.digest.update(raw)

    def visit(self, thing: Any, where: str) -> None:
        """Tells the digest of a thing; ``where`` it was found, for the refusal."""
        if type(thing) in _PLAIN:
            self._tell(type(thing).__name__, repr(thing))
            return
        if id(thing) in self._seen:
            self._tell("again", str(self._seen[id(thing)][0]))
            return
        if len(self._seen) >= _MOST:
            raise OpaqueError(where, "leads to too much else")
        self._seen[id(thing)] = len(self._seen), thing
        self._compound(thing, where)

    def _compound(self, thing: Any, where: str) -> None:
        match thing:
            case Tensor():
                self._tensor(thing, where)
            case np.ndarray() | np.generic():
                self._array(np.asarray(thing), where)
            case enum.Enum():
                self._tell("enum", f"{type(thing).__qualname__}.{thing.name}")
                self.visit(thing.value, where)
            case torch.Generator():
                self._tell("generator", raw_bytes(thing.get_state()))
            case re.Pattern() | PurePath() | logging.Logger() | np.dtype():
                self._tell(type(thing).__name__, str(thing))
            case nn.Module():
                self._module(thing, where)
            case type():
                self._class(thing, where)
                self._made.add(thing)
            case ModuleType():
                self._value_module(thing, where)
            case FunctionType():
                self._function(thing, where)
            case MethodType():
                self.visit(thing.__func__, where)
                self.visit(thing.__self__, where)
            case functools.partial():
                self.visit([thing.func, thing.args, thing.keywords], where)
            case property():
                self.visit([thing.fget], where)
            case staticmethod() | classmethod():
                self.visit(thing.__func__, where)
            case functools.cached_property():
                self.visit(thing.func, where)
            case _ if isinstance(thing, _CACHED):
                self.visit(thing.__wrapped__, where)
            case _ if isinstance(thing, _TORCH):
                self._tell("torch", repr(thing))
            case _ if isinstance(thing, _BUILT_IN):
                self._built_in(thing, where)
            case _ if isinstance(thing, _SLOTS):
                self._tell("slot", thing.__name__)
            case _:
                self._object(thing, where)

    def _tensor(self, tensor: Tensor, where: str) -> None:
        if type(tensor) not in _TENSORS or tensor.is_quantized:
            raise OpaqueError(where, f"is no plain tensor, but a {type(tensor).__name__}")
        strides = tensor.stride() if tensor.layout == torch.strided else "sparse"
        try:
            self._tell(f"{tensor.dtype} {tuple(tensor.shape)} {strides}", raw_bytes(tensor))
        except (RuntimeError, NotImplementedError) as error:
            raise OpaqueError(where, "is a tensor without values") from error

    def _array(self, array: Any, where: str) -> None:
        if array.dtype.hasobject:
            raise OpaqueError(where, "is an array of objects")
        self._tell(f"{array.dtype.str} {array.shape}", array.tobytes())

    def _items(self, thing: Iterable[Any], where: str) -> None:
        """The contents of a container, besides what its class tells."""
        if isinstance(thing, Mapping):
            for key, value in thing.items():
                self.visit(key, where)
                self.visit(value, f"{where}[{key!r}]")
        elif isinstance(thing, set | frozenset):
            for text in sorted(_of_a_set(each, where) for each in thing):
                self._tell("item", text)
        else:
            for number, value in enumerate(thing):
                self.visit(value, f"{where}[{number}]")
        self._tell("end")

    def _module(self, module: nn.Module, where: str) -> None:
        self._class(type(module), where)
        for name, value in vars(module).items():
            if name in _NOT_OF_THE_PASS:
                continue
            self._tell("attribute", name)
            plain = name in ("_parameters", "_buffers", "_modules")
            for key, each in value.items() if plain else ():
                self._tell("name", key)
                self.visit(each, f"{where}.{key}")
            if name in _HOOKS:  # their keys count on from the process's first
                self.visit(list(value.values()), f"a hook of {where}")
            elif not plain:
                self.visit(value, f"{where}.{name}")
        self._tell("end")

    def _object(self, thing: Any, where: str) -> None:
        kind = type(thing)
        self._class(kind, where)
        if isinstance(thing, _CONTAINERS):
            self._items(thing, where)
            for name in ("default_factory", "maxlen"):  # C's, of defaultdict and deque
                self.visit(getattr(thing, name, None), where)
        elif not reach.is_python(kind):
            self._reduced(thing, where)
            return
        for name, value in reach.state(thing).items():
            self._tell("attribute", name)
            self.visit(value, f"{where}.{name}")
        self._tell("end")

    def _reduced(self, thing: Any, where: str) -> None:
        """An object whose state Python does not show, by what it is copied from."""
        try:
            parts = thing.__reduce_ex__(4)
        except Exception as error:
            kind = type(thing)
            raise OpaqueError(where, f"is a {kind.__module__}.{kind.__qualname__}") from error
        for part in (parts,) if isinstance(parts, str) else parts:
            self.visit(list(part) if isinstance(part, Iterator) else part, where)
        self._tell("end")

    def _class(self, kind: type, where: str) -> None:
        """Its name and where it comes from; its members are told once they are known to be used."""
        self._tell("class", f"{reach.home(kind)}.{kind.__qualname__}")
        if kind in self._classes:
            return
        for each in kind.__mro__:
            if each not in self._classes:
                self._classes.append(each)
                self._tell("base", reach.package(reach.home(each)))
                if reach.is_installed(each):
                    self._names |= reach.asked(each)
        if issubclass(kind, enum.Enum):  # its members are not among its attributes everywhere
            self.visit({name: each.value for name, each in kind.__members__.items()}, where)
        if not reach.is_installed(type(kind)):
            self._class(type(kind), where)
        reach.refuse_module(reach.home(kind), where)

    def members(self) -> None:
        """Tells the members of the classes met so far that the code met so far can reach, until
        no more come of it.
        """
        count = -1
        while count != len(self._told):
            count = len(self._told)
            for kind in tuple(self._classes):
                for name, member in tuple(vars(kind).items()):
                    if (id(kind), name) in self._told or not self._reaches(kind, name, member):
                        continue
                    self._told.add((id(kind), name))
                    self._tell("member", name)
                    self.visit(member, f"{kind.__qualname__}.{name}")

    def _reaches(self, kind: type, name: str, member: object) -> bool:
        if reach.is_installed(kind):  # only what was put into it by others
            function = getattr(member, "__func__", member)
            return isinstance(function, FunctionType) and not reach.is_installed(function)
        if isinstance(member, _SLOTS):
            return False
        if name in reach.MAKING:
            return any(issubclass(made, kind) for made in self._made)
        if name.startswith("__") and name.endswith("__"):
            return name not in reach.NEVER
        return name in self._names or bool(reach.DYNAMIC & self._names)

    def _function(self, function: FunctionType, where: str) -> None:
        where = f"{where} ({function.__qualname__})"
        reach.refuse_module(function.__module__ or "", where)
        self.visit(function.__defaults__, where)
        self.visit(function.__kwdefaults__, where)
        for cell in function.__closure__ or ():
            try:
                self.visit(cell.cell_contents, where)
            except ValueError:
                self._tell("empty")
        self.visit(vars(function), where)
        if reach.is_installed(function):
            reach.refuse_names(frozenset({function.__name__}), where)
            self._names |= reach.asked(function)
            self._tell("installed", f"{function.__qualname__} {reach.package(function.__module__)}")
            return
        code = function.__code__
        for part in reach.codes(code):
            self._tell("code", reach.text(part))
        names = reach.attributes(code)
        reach.refuse_names(names, where)
        self._names |= names
        for name, value in reach.read(function, where):
            self._tell("global", name)
            self._global(value, names, f"{name} in {where}")

    def _global(self, value: Any, names: frozenset[str], where: str) -> None:
        """A value that a function reads; of a module, what is taken from it."""
        if not isinstance(value, ModuleType):
            self.visit(value, where)
            return
        reach.refuse_module(value.__name__, where)
        self._tell("module", reach.package(value.__name__))
        if reach.is_installed(value):
            return
        if reach.DYNAMIC & names or "__getattr__" in vars(value):
            raise OpaqueError(where, "may be searched for a name")
        for name in sorted(names & set(vars(value))):
            if (id(value), name) not in self._told:
                self._told.add((id(value), name))
                self._tell("of", f"{value.__name__}.{name}")
                self._global(vars(value)[name], names, f"{value.__name__}.{name}")

    def _value_module(self, module: ModuleType, where: str) -> None:
        """A module that something holds: who has it may take anything from it."""
        reach.refuse_module(module.__name__, where)
        if not reach.is_installed(module):
            raise OpaqueError(where, f"holds {module.__name__}, of which anything may be used")
        self._tell("module", reach.package(module.__name__))

    def _built_in(self, thing: Any, where: str) -> None:
        owner = getattr(thing, "__self__", None)
        home = getattr(thing, "__module__", None) or ""
        name = getattr(thing, "__qualname__", thing.__name__)
        reach.refuse_module(home, where)
        reach.refuse_names(frozenset({thing.__name__}), where)
        self._tell("built-in", f"{name} {reach.package(home)}")
        if owner is not None and not isinstance(owner, ModuleType):
            self.visit(owner, where)


def _of_a_set(thing: object, where: str) -> str:
    """A set's items have no order but that of their digests."""
    walk = _Walk()
    walk.visit(thing, where)
    walk.members()
    return walk.digest.hexdigest()
