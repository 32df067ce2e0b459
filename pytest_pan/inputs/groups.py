"""Groups of images that are not independent, such as crops of one photograph."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from torch.utils.data import DataLoader, SequentialSampler

from pytest_pan.inputs.folders import ImageFolder
from pytest_pan.inputs.names import printable
from pytest_pan.records.errors import InputError

_ALLOWED = "one label per image, or a regular expression for the file names of a folder"


def group_numbers(given: object, items: object, expected: int | None) -> tuple[int, ...] | None:
    """Return the number of the group of each image, in the order of the source.

    ``given``: a label per image, or a regular expression that is searched for in each path within
    a folder; its first group, or else the whole match, is the label. None takes the attribute
    ``groups`` of a data set, if it has one. ``items`` are the images of a source, ``expected`` is
    their number. Returns None without groups; raises :class:`InputError` for unusable ones.
    """
    if given is None:
        given = getattr(_dataset(items), "groups", None)
        if given is None or callable(given):
            return None
    if isinstance(given, str):
        return _numbered(_labels_of_files(given, items))
    labels = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(labels, Sequence) or not all(isinstance(one, Hashable) for one in labels):
        raise InputError("groups of the images", got=type(given).__name__, allowed=_ALLOWED)
    if expected is None or _is_shuffled(items):
        raise InputError(
            "groups for images in an unknown order",
            got=type(items).__name__,
            allowed="a folder, a tensor, a Dataset, or a DataLoader that does not shuffle",
        )
    if len(labels) != expected:
        got = f"{len(labels)} labels for {expected} images"
        raise InputError("groups of the images", got=got, allowed="one label per image")
    return _numbered(labels)


def _dataset(items: object) -> object:
    return items.dataset if isinstance(items, DataLoader) else items


def _is_shuffled(items: object) -> bool:
    if not isinstance(items, DataLoader):
        return False
    sampler = getattr(items.batch_sampler, "sampler", items.sampler)
    return not isinstance(sampler, SequentialSampler)


def _labels_of_files(pattern: str, items: object) -> list[str]:
    if not isinstance(items, ImageFolder):
        raise InputError(
            "a pattern for groups of images that are not files",
            got=type(items).__name__,
            allowed=_ALLOWED,
        )
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise InputError(
            "groups of the images", got=f"{pattern!r}: {error}", allowed="a regular expression"
        ) from error
    labels = []
    for path in items.paths:
        match = found.search(path.as_posix())
        label = match and match.group(1 if found.groups else 0)
        if not label:
            raise InputError(
                "a file that belongs to no group",
                where=printable(str(path)),
                got=f"{'an empty' if match else 'no'} match of {pattern!r}",
                next="Let the pattern match every path within the folder.",
            )
        labels.append(label)
    return labels


def _numbered(labels: Sequence[Hashable]) -> tuple[int, ...]:
    """Number the labels in the order of their first images."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(label, len(numbers)) for label in labels)
