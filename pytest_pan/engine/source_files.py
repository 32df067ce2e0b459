"""The source files that decide what code does: those that define it, and those that they import."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from pytest_pan.inputs.values import is_own_file

_LARGEST = 1 << 22
"""Bytes of a source file; larger ones are data."""


@dataclass(frozen=True, slots=True)
class _Source:
    digest: bytes
    imports: tuple[str, ...]
    """Names that may be modules."""


def digests_of_sources(things: Iterable[object]) -> list[bytes]:
    """Return the digests of the source files that define the functions, and the classes of other
    things; and of the user's own modules that these files import, in any number of steps.
    """
    todo = list(dict.fromkeys(map(_place, things)))
    found: dict[str, bytes] = {}
    for file, package in todo:  # grows
        if file in found:
            continue
        with suppress(OSError):
            stat = Path(file).stat()
            if stat.st_size > _LARGEST:
                continue
            source = _read(file, package, stat.st_mtime_ns, stat.st_size)
            found[file] = source.digest
            if is_own_file(file):
                todo += _own_modules(source.imports)
    return [found[file] for file in sorted(found)]


def _place(thing: Any) -> tuple[str, str]:
    """Return the file that defines a thing, and the package of its module."""
    code = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    with suppress(TypeError, OSError):
        module = sys.modules.get(code.__module__)
        return inspect.getsourcefile(code) or "", getattr(module, "__package__", None) or ""
    return "", ""


def _own_modules(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield file and package of those loaded modules that are the user's own."""
    for name in names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or ""
        if file.endswith(".py") and is_own_file(file):
            yield file, getattr(module, "__package__", None) or ""


@lru_cache(maxsize=1024)
def _read(file: str, package: str, _changed: int, _size: int) -> _Source:
    text = Path(file).read_bytes()
    names: list[str] = []
    with suppress(SyntaxError, ValueError, ImportError):
        for node in ast.walk(ast.parse(text)) if is_own_file(file) else ():
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package)
                names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return _Source(hashlib.sha256(text).digest(), tuple(names))
