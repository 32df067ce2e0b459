"""What is in an object, what its code can reach, and where the code comes from."""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import importlib.metadata
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from pytest_pan.errors import PanError


class OpaqueError(PanError):
    """Something whose contents cannot be told for certain; ``what`` is why, ``where`` it is."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} {why}")


ALWAYS = ("forward", "__call__")
NEVER = frozenset(
    f"__{name}__"
    for name in (
        *("init", "new", "del", "repr", "str", "init_subclass", "class_getitem", "set_name"),
        *("doc", "module", "dict", "weakref", "annotations", "annotate_func", "annotations_cache"),
        *("reduce", "reduce_ex", "getstate", "setstate", "copy", "deepcopy", "slots", "qualname"),
        *("parameters", "firstlineno", "static_attributes", "orig_bases", "match_args"),
        *("dataclass_fields", "dataclass_params", "abstractmethods"),
    )
)
"""Members that no forward pass uses: of making, showing and copying."""
MAKING = ("__new__", "__init__", "__post_init__")
"""Members that a class uses which is called."""
DYNAMIC = frozenset({"getattr", "vars", "__dict__", "dir", "attrgetter", "methodcaller"})
"""Names by which code reaches members that it does not name."""

_IMPURE = frozenset(
    {
        *("os", "posix", "nt", "io", "pathlib", "glob", "shutil", "tempfile", "subprocess"),
        *("time", "datetime", "socket", "urllib", "requests", "uuid", "secrets"),
    }
)
_IMPURE_NAMES = frozenset(
    {
        *("open", "input", "eval", "exec", "compile", "globals", "locals", "__import__"),
        *(
            "ops",
            "environ",
            "getenv",
            "read_text",
            "read_bytes",
            "load",
            "fromfile",
            "loadtxt",
            "memmap",
        ),
    }
)
_MADE_BY_CLASS = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: no static type of C's."""
_STDLIB = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib"))


def refuse_module(module: str, where: str) -> None:
    """Raises for a module of the standard library whose answers are not the arguments' alone, and
    for a compiled one that no installed package vouches for.
    """
    if module.partition(".")[0] in _IMPURE:
        raise OpaqueError(where, f"uses the module {module}: files, the clock or the environment")
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and not file.endswith((".py", ".pyc")) and not _is_library(file):
        raise OpaqueError(where, f"uses {module}, which is compiled code")


def refuse_names(names: frozenset[str], where: str) -> None:
    """Raises for ``open`` and the like, and for operators registered with torch, whose code is
    out of sight.
    """
    if found := sorted(names & _IMPURE_NAMES):
        raise OpaqueError(where, f"uses {found[0]}, which may do anything")


def is_installed(thing: type | FunctionType | ModuleType) -> bool:
    """Whether it comes from the standard library or an installed package, which their versions
    tell; else it is the user's, and its code counts.
    """
    if isinstance(thing, FunctionType):
        return _is_library(thing.__code__.co_filename)
    name = thing.__name__ if isinstance(thing, ModuleType) else home(thing)
    if not name:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return name.partition(".")[0] in {*sys.builtin_module_names, *sys.stdlib_module_names}
    return _is_library(file)


def home(kind: type) -> str:
    """The module of a class; empty for one made in C that has it for its instances only."""
    name: object = kind.__module__
    return name if isinstance(name, str) else ""


@functools.cache
def _is_library(file: str) -> bool:
    if file.startswith("<"):
        return file.startswith("<frozen ")
    parts = PurePath(file).parts
    inside = str(Path(file).resolve()).startswith(_STDLIB)
    return inside or "site-packages" in parts or "dist-packages" in parts


@functools.cache
def package(module: str) -> str:
    """The module's name with the contents of the package that it is installed by, as the installer
    recorded them; a version alone does not tell apart two states of a repository.
    """
    top = module.partition(".")[0]
    if not top or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return f"{module} {sys.version}"
    found = sys.modules.get(top)
    if found is not None and not is_installed(found):
        return module
    return f"{module} {_installation(top) or getattr(found, '__version__', '')}"


@functools.cache
def _installation(top: str) -> str:
    """What is installed under that name: version, and a digest of the files' own; or nothing."""
    try:
        found = [importlib.metadata.distribution(top)]
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(top, ())
        found = [importlib.metadata.distribution(name) for name in sorted(set(names))]
    digest = hashlib.sha256()
    for one in found:
        lines = (one.read_text("RECORD") or "").splitlines()
        inside = sorted(line for line in lines if ",sha256=" in line and not line.startswith(".."))
        digest.update("\n".join([one.version, *inside]).encode(errors="surrogatepass"))
    return digest.hexdigest() if found else ""


def is_python(kind: type) -> bool:
    """Whether all state of its instances is in ``__dict__`` and slots: no base made in C."""
    slots = sum(isinstance(m, MemberDescriptorType) for c in kind.__mro__ for m in vars(c).values())
    pointers = slots + 2  # to the dict, and for weak references
    return bool(kind.__flags__ & _MADE_BY_CLASS) and (
        kind.__basicsize__ <= object.__basicsize__ + 8 * pointers
    )


def state(thing: Any) -> dict[str, Any]:
    """What is in an object's ``__dict__`` and slots."""
    state = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType) and hasattr(thing, name):
                state[name] = getattr(thing, name)
    return state


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code and all that is defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def text(code: CodeType) -> str:
    """All that the code does, the same in every process: without files and line numbers."""
    parts = (
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        *(code.co_code, code.co_exceptiontable),
        *(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        *(_constant(constant) for constant in code.co_consts),
    )
    return repr(parts)


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return value.co_name
    if isinstance(value, frozenset):
        return repr(sorted(map(_constant, value)))
    if isinstance(value, tuple):
        return repr([_constant(item) for item in value])
    return f"{type(value).__name__} {value!r}"


def attributes(code: CodeType) -> frozenset[str]:
    """All names that the code takes from things, or reads."""
    return frozenset(name for part in codes(code) for name in part.co_names)


def read(function: FunctionType, where: str) -> Iterator[tuple[str, Any]]:
    """The globals and builtins that a function reads, and what it imports, in a fixed order;
    names that are not there are left out.
    """
    names: dict[str, None] = {}
    imports: dict[str, None] = {}
    for part in codes(function.__code__):
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names[str(instruction.argval)] = None
            elif instruction.opname == "IMPORT_NAME":
                imports[str(instruction.argval)] = None
    for name in names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
        elif hasattr(builtins, name):
            yield name, getattr(builtins, name)
    for name in imports:
        yield name, _imported(name, function, where)


def _imported(name: str, function: FunctionType, where: str) -> ModuleType:
    refuse_module(name, where)
    package = function.__globals__.get("__package__") or ""
    for full in (f"{package}.{name}" if package else name, name):
        if full in sys.modules:
            return sys.modules[full]
    raise OpaqueError(where, f"imports {name or 'a module'} while it runs")
