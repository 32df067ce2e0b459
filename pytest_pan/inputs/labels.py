"""Class numbers from the labels that data sets give."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_pan.inputs.names import printable
from pytest_pan.records.errors import shortened


class _UnusableError(Exception):
    """A label that is no class number; the message says what the labels are."""


def class_numbers(
    given: Any, count: int, names: Sequence[str] = (), outputs: Sequence[str] = ()
) -> tuple[Tensor | None, str]:
    """Return the class numbers (N,) of ``count`` images, or None and why the labels are not used.

    A label is a whole number (also as a float), a one-hot row, or a class name. ``names`` are those
    of the data set's classes; where the model's ``outputs`` have names too, and all of the data
    set's among them, labels become the numbers of the outputs with their names. Where
    one label of a batch cannot be used, none is. Images without labels need no reason.
    """
    if given is None:
        return None, ""
    if isinstance(given, Tensor | np.ndarray) and not given.ndim:
        return None, f"one label for {count} images"
    if not isinstance(given, Tensor | np.ndarray | list | tuple):
        return None, f"values of type {type(given).__name__}"
    if len(given) != count:
        return None, f"{len(given)} labels for {count} images"
    if missing := sum(label is None for label in given):
        return None, "" if missing == count else f"{missing} of {count} images have no label"
    known = _unique(outputs or names)
    moved = output_numbers(names, outputs)
    try:
        numbers = [_number(label, known, moved) for label in given]
        return torch.tensor(numbers, dtype=torch.int64), ""
    except _UnusableError as error:
        return None, str(error)
    except (ValueError, RuntimeError, OverflowError):
        return None, "numbers larger than 64 bits"


def output_numbers(names: Sequence[str], outputs: Sequence[str]) -> dict[int, int]:
    """Return the number of the output that has its name for each class of the data set; empty
    where some class has none.
    """
    known = _unique(outputs)
    moved = {number: known[name] for number, name in enumerate(names) if name in known}
    return moved if len(moved) == len(set(names)) == len(names) else {}


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Return the number of each name that occurs once; repeated names are ambiguous."""
    times = Counter(names)
    return {name: number for number, name in enumerate(names) if times[name] == 1}


def _number(label: Any, known: dict[str, int], moved: dict[int, int]) -> int:
    """Return the class number of one image."""
    if isinstance(label, str):
        number = known.get(printable(label))
        if number is None:
            raise _UnusableError(f'strings that are no class names, first "{printable(label)}"')
        return number
    try:
        number = operator.index(label)
    except TypeError:
        number = _of_values(label)
    return moved.get(number, number)


def _of_values(label: Any) -> int:
    values = _values(label)
    if values.ndim > 1:
        raise _UnusableError(f"arrays of shape {tuple(values.shape)}")
    return _whole(float(values)) if values.size == 1 else _hot(values)


def _values(label: Any) -> np.ndarray[Any, Any]:
    """Return a label's numbers: a single one has the shape ()."""
    try:
        if isinstance(label, Tensor):
            label = label.detach().cpu().tolist()
        values = np.asarray(label)
    except Exception as error:  # a ragged list, a sparse tensor
        raise _UnusableError(f"values of type {type(label).__name__}") from error
    if values.dtype.kind not in "biuf":
        raise _UnusableError(f"values of type {type(label).__name__}")
    return values.reshape(()) if values.size == 1 else values


def _whole(number: float) -> int:
    if not number.is_integer():
        raise _UnusableError(f"numbers that are not whole, first {shortened(number)}")
    return int(number)


def _hot(row: np.ndarray[Any, Any]) -> int:
    """Return the place of the 1 in a one-hot row."""
    ones = np.flatnonzero(row == 1)
    if len(ones) != 1 or np.count_nonzero(row) != 1:
        raise _UnusableError(f"rows of {len(row)} numbers that are not one-hot")
    return int(ones[0])
