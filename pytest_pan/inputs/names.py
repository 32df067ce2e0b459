"""Names of classes, as data sets have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST_WRAPPERS = 8
"""Data sets inside data sets, such as Subset, that are looked into."""


def printable(text: str) -> str:
    """Return the text with bytes that are not UTF-8 as backslash escapes.

    A file name has such bytes as surrogates, which cannot be written to a report.
    """
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # surrogates that do not come from bytes
        return text.encode(errors="backslashreplace").decode()


def class_names_of(source: object) -> tuple[str, ...]:
    """Return the names of a data set's classes by number; empty where it has none.

    Sources, in this order: ``classes`` and ``class_to_idx`` (torchvision), ``features`` (Hugging
    Face), and the same of the data set inside a Subset.
    """
    for _ in range(_MOST_WRAPPERS):
        if names := _own_names(source):
            return tuple(printable(str(name)) for name in names)
        source = getattr(source, "dataset", None)
        if source is None:
            break
    return ()


def _own_names(source: object) -> tuple[Any, ...]:
    classes = getattr(source, "classes", None)
    if isinstance(classes, list | tuple):
        return tuple(classes)
    numbers = getattr(source, "class_to_idx", None)
    if isinstance(numbers, Mapping) and set(numbers.values()) == set(range(len(numbers))):
        return tuple(sorted(numbers, key=lambda name: numbers[name]))
    features = getattr(source, "features", None)
    if isinstance(features, Mapping):
        names = getattr(features.get("label", features.get("labels")), "names", None)
        return tuple(names) if isinstance(names, list | tuple) else ()
    return ()
