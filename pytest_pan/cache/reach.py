"""What is in an object, what its code can reach, and where the code comes from."""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from pytest_pan.records.errors import PanError


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
_NOT_ASKED = frozenset(
    {"train", "eval", "load_state_dict", "_load_from_state_dict", "extra_repr", "reset_parameters"}
)
"""Members that installed code takes from a module, but not in a forward pass."""

_IMPURE = frozenset(
    {
        *("os", "posix", "nt", "io", "pathlib", "glob", "shutil", "tempfile", "subprocess"),
        *("time", "datetime", "socket", "urllib", "requests", "httpx", "uuid", "secrets"),
        *("mmap", "zipfile", "tarfile", "gzip", "bz2", "lzma", "sqlite3", "shelve", "dbm"),
        *("fileinput", "linecache", "importlib", "pkgutil", "runpy", "ctypes"),
        *("h5py", "zarr", "lmdb", "fsspec", "imageio", "tifffile"),
    }
)
_IMPURE_NAMES = frozenset(
    {
        *("open", "input", "eval", "exec", "compile", "globals", "locals", "__import__"),
        *("ops", "environ", "getenv", "import_module", "urlopen", "urlretrieve"),
        *("load", "safe_load", "safe_open", "load_file", "load_model", "load_url", "loadmat"),
        *("load_state_dict_from_url", "from_pretrained", "hf_hub_download", "from_file"),
        *("fromfile", "loadtxt", "genfromtxt", "fromregex", "memmap", "open_memmap"),
        *("read_text", "read_bytes", "read_file", "read_image", "read_video", "decode_image"),
        *("imread", "imreadmulti", "mimread", "imiter", "dcmread", "VideoCapture", "VideoReader"),
        *("read_csv", "read_table", "read_json", "read_parquet", "read_pickle", "read_excel"),
    }
)
_MADE_BY_CLASS = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: no static type of C's."""
_STDLIB = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib"))


def refuse_module(module: str, where: str) -> None:
    """Raises for a module whose answers are not the arguments' alone, for torch's operators, and
    for a compiled one that no installed package vouches for.
    """
    if module.partition(".")[0] in _IMPURE:
        raise OpaqueError(where, f"uses the module {module}: files, the clock or the environment")
    if f"{module}.".startswith("torch.ops."):
        raise OpaqueError(where, f"uses {module}, whose operators may be of any code")
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


def asked(by: type | FunctionType) -> frozenset[str]:
    """The names by which installed code may ask what it is given, or what derives from it, for
    something: those that the code takes from things, and a class's own members.
    """
    if isinstance(by, FunctionType):
        return attributes(by.__code__) - DYNAMIC - _NOT_ASKED
    found = set(vars(by))
    for member in vars(by).values():
        if (function := _behind(member)) is not None:
            found |= attributes(function.__code__)
    return frozenset(found) - DYNAMIC - _NOT_ASKED


def _behind(member: Any) -> FunctionType | None:
    """The function that a member of a class is made of, without decorators that tell of it."""
    match member:
        case property():
            member = member.fget
        case staticmethod() | classmethod():
            member = member.__func__
        case functools.cached_property():
            member = member.func
    if isinstance(member, FunctionType):
        member = inspect.unwrap(member)
    return member if isinstance(member, FunctionType) else None


def read(function: FunctionType, where: str) -> Iterator[tuple[str, Any]]:
    """The globals and builtins that a function reads, and what it imports, in a fixed order;
    names that are not there are left out.
    """
    names: dict[str, None] = {}
    imports: dict[tuple[str, object, object], None] = {}
    for part in codes(function.__code__):
        before: tuple[object, object] = (None, None)
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names[str(instruction.argval)] = None
            elif instruction.opname == "IMPORT_NAME":  # takes the level and what is wanted of it
                imports[str(instruction.argval), before[0], before[1]] = None
            if instruction.opname != "EXTENDED_ARG":
                before = before[1], instruction.argval
    for name in names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
        elif hasattr(builtins, name):
            yield name, getattr(builtins, name)
    for name, level, wanted in imports:
        yield from _imported(name, level, wanted, function, where)


def _imported(
    name: str, level: object, wanted: object, function: FunctionType, where: str
) -> Iterator[tuple[str, ModuleType]]:
    """The modules that an import statement in a function gives it: of ``import a.b`` both."""
    inside = function.__globals__.get("__package__") or ""
    try:
        full = importlib.util.resolve_name("." * level + name, inside)  # type: ignore[operator]
    except (ImportError, TypeError, ValueError):
        raise OpaqueError(where, f"imports {name or 'a module'} while it runs") from None
    refuse_module(full, where)
    parents = [full.rsplit(".", n)[0] for n in range(full.count(".") + 1)]
    for each in [full] if wanted else parents:
        if each not in sys.modules:
            raise OpaqueError(where, f"imports {each} while it runs")
        yield each, sys.modules[each]
    for part in wanted if isinstance(wanted, tuple) else ():
        if not is_installed(sys.modules[full]) and not hasattr(sys.modules[full], part):
            raise OpaqueError(where, f"imports {full}.{part} while it runs")
