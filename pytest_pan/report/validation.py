"""Validation of JSON reports: the types of all parts, before anything computes with them."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pytest_pan.records.errors import shortened

_MAX_DEPTH = 60
"""Nesting of lists and objects; a report has about ten levels."""
_MAX_NUMBER = 1e300
_FACTS = ("model", "images", "settings", "environment", "measures")
_BY_PART = ("sites", "classes")
_INTERVALS = ("intervals", "site_bounds")

Mistake = tuple[str, object, str]
"""Where, got, allowed."""


def unreadable(body: object) -> str:
    """Return why JSON data of any kind cannot be a report; empty if it may be one.

    Walks the data without recursion: it may be nested more deeply than Python's stack.
    """
    level, depth = [body], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            return f"more than {_MAX_DEPTH} levels of nesting"
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, int | float) and not _is_plain(value):
                return f"a number beyond {_MAX_NUMBER:g}: {shortened(value)}"
        level = inner
    return ""


def _is_plain(number: float) -> bool:
    """Return whether a number is finite and converts to a float."""
    return abs(number) < _MAX_NUMBER


def mistakes(audit: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong in an audit's JSON with the parts that a comparison uses."""
    for fact in _FACTS:
        if not isinstance(audit.get(fact), dict):
            yield fact, audit.get(fact), "an object"
            return
    if not isinstance(name := audit["model"].get("name"), str):
        yield "model.name", name, "a string"
    for key in ("count", "expected"):
        number = audit["images"].get(key, None if key == "expected" else 0)
        if not (_is_of(number, int) or (number is None and key == "expected")):
            yield f"images.{key}", number, "a whole number"
    probes = audit["settings"].get("probes")
    if not (isinstance(probes, list) and all(isinstance(probe, str) for probe in probes)):
        yield "settings.probes", probes, "a list of strings"
    for name, measured in audit["measures"].items():
        if not isinstance(measured, dict):
            yield f"measures.{name}", measured, "an object"
            continue
        for key, got, allowed in _mistakes_of_measure(measured):
            yield f"measures.{name}.{key}", got, allowed


def _mistakes_of_measure(measured: Mapping[str, Any]) -> Iterator[Mistake]:
    if "value" not in measured or not _is_number(measured["value"]):
        yield "value", measured.get("value", "no value"), "a number or null"
    if not _is_interval(measured.get("interval")):
        yield "interval", measured["interval"], "two numbers or null"
    for part in (*_BY_PART, *_INTERVALS):
        values = measured.get(part) or {}
        if not isinstance(values, dict):
            yield part, values, "an object"
            continue
        is_valid, allowed = _is_number, "a number or null"
        if part in _INTERVALS:
            is_valid, allowed = _is_interval, "two numbers or null"
        for key, value in values.items():
            if not is_valid(value):
                yield f"{part}.{key}", value, allowed


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_interval(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) == 2
        and all(end is not None and _is_number(end) for end in value)
    )


def misfit(value: object, kind: Any, where: str) -> str:
    """Return where a record's field does not have its declared type, with what it has; else empty.

    Follows dataclasses, sequences, mappings, unions and literals; a protocol admits anything.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Union or origin is types.UnionType:
        found = [misfit(value, each, where) for each in arguments]
        return "" if "" in found else found[0]
    if dataclasses.is_dataclass(value):
        record: Any = type(value)
        return _first(
            misfit(getattr(value, name), hint, f"{where}.{name}")
            for name, hint in _hints(record).items()
        )
    if origin is Literal:
        return "" if value in arguments else _wrong(where, value)
    if origin is tuple and isinstance(value, tuple):
        return _misfit_of_tuple(value, arguments, where)
    if origin is Mapping and isinstance(value, Mapping):
        key_kind, value_kind = arguments
        return _first(
            misfit(key, key_kind, where) or misfit(item, value_kind, f"{where}[{key!r}]")
            for key, item in value.items()
        )
    return "" if _is_of(value, origin or kind) else _wrong(where, value)


def _misfit_of_tuple(value: tuple[object, ...], kinds: tuple[Any, ...], where: str) -> str:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        return _wrong(where, value)
    pairs = enumerate(zip(value, kinds, strict=True))
    return _first(misfit(item, kind, f"{where}[{n}]") for n, (item, kind) in pairs)


def _is_of(value: object, kind: Any) -> bool:
    """Return whether a value is of a plain type; JSON does not tell 1.0 from 1."""
    if kind is Any or getattr(kind, "_is_protocol", False):
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        is_whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
        return (isinstance(value, int) and not isinstance(value, bool)) or is_whole
    return value is None if kind is type(None) else isinstance(value, kind)


@lru_cache
def _hints(record: Any) -> Mapping[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def _first(found: Iterator[str]) -> str:
    return next((text for text in found if text), "")


def _wrong(where: str, value: object) -> str:
    return f"{where} is {shortened(value)}"
