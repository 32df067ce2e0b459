"""A digest of values sees whatever an object holds, and nothing that differs by process."""

from __future__ import annotations

import array
import ctypes
import decimal
import functools
import hashlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_pan.inputs.values import digest_modules, digest_values


class Kind:
    by = 1.0

    def times(self) -> float:
        return self.by


class Slotted:
    __slots__ = ("__by", "other")

    def __init__(self) -> None:
        self.__by, self.other = 1.0, 1.0

    def change(self) -> None:
        self.__by = 2.0


class Listed(list[Any]):
    by = 1.0


class Tagged(np.ndarray[Any, Any]):
    by = 1.0


def function() -> None: ...


def of(thing: object) -> str:
    found = hashlib.sha256()
    digest_values(thing, found.update)
    return found.hexdigest()


def put(value: Any) -> Callable[[Any], None]:
    return lambda holder: holder.__setitem__(0, value)


CHANGES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "deque": (deque([1.0]), put(2.0)),
    "array.array": (array.array("d", [1.0]), put(2.0)),
    "bytearray": (bytearray(2), put(1)),
    "memoryview": (memoryview(bytearray(2)), put(1)),
    "ctypes": (ctypes.c_double(1), lambda x: setattr(x, "value", 2)),
    "number of numpy": ([np.float32(1)], put(np.float32(2))),
    "Decimal": ([decimal.Decimal(1)], put(decimal.Decimal(2))),
    "range": ([range(2)], put(range(3))),
    "slice": ([slice(2)], put(slice(3))),
    "partial": ([functools.partial(max, 1)], put(functools.partial(max, 2))),
    "class": (Kind(), lambda x: setattr(Kind, "by", 2.0)),
    "class itself": (Kind, lambda x: setattr(Kind, "by", 2.0)),
    "method of a class": (Kind(), lambda x: setattr(Kind, "times", lambda s: 2.0)),
    "private slot": (Slotted(), lambda x: x.change()),
    "attribute of a list": (Listed([1]), lambda x: setattr(x, "by", 2.0)),
    "attribute of an array": (np.ones(2).view(Tagged), lambda x: setattr(x, "by", 2.0)),
    "attribute of a function": (function, lambda x: setattr(x, "by", 2.0)),
    "shape of a tensor": ([torch.ones(2, 3)], put(torch.ones(3, 2))),
    "bias of a layer": ([nn.Linear(1, 1)], lambda x: nn.init.constant_(x[0].bias, 9)),
    "child of a layer": ([nn.Sequential(nn.ReLU())], lambda x: setattr(x[0][0], "inplace", True)),
}


@pytest.mark.parametrize(("holder", "change"), CHANGES.values(), ids=CHANGES)
def test_a_value_that_changes_changes_the_digest(
    holder: Any, change: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("by", "times"):
        monkeypatch.setattr(Kind, name, vars(Kind)[name])
    before = of(holder)
    assert of(holder) == before
    change(holder)
    assert of(holder) != before


def test_values_that_a_state_dict_leaves_out_count() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(2), persistent=False)
            self.own = nn.Parameter(torch.zeros(2))

        def state_dict(self, *more: Any, **given: Any) -> Any:
            kept = super().state_dict(*more, **given)
            del kept["own"]
            return kept

    def taken() -> str:
        found = hashlib.sha256()
        digest_modules(net, found.update)
        return found.hexdigest()

    net: Any = Net()
    seen = {taken()}
    net.table[0] = 1
    seen.add(taken())
    nn.init.ones_(net.own)
    seen.add(taken())
    net.own.scale = 2.0
    seen.add(taken())
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["7.png", "sub/7.png", "images-idx3-ubyte"])
def test_a_file_counts_that_a_text_names_also_in_a_folder_named_before(
    name: str, tmp_path: Path
) -> None:
    def taken() -> str:
        found = hashlib.sha256()
        digest_values({"root": str(tmp_path), "files": [named]}, found.update, files=True)
        return found.hexdigest()

    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"a")
    named = name if file.suffix else str(file)
    stat, before = file.stat(), taken()
    assert taken() == before
    file.write_bytes(b"b")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert taken() != before


def test_a_set_of_objects_is_the_same_in_every_process() -> None:
    script = (
        "import hashlib, random\n"
        "from pytest_pan.inputs.values import digest_values\n"
        "class Thing:\n"
        "    def __init__(self, by): self.by = by\n"
        "noise = [bytearray(random.randrange(900)) for _ in range(9)]\n"
        "found = hashlib.sha256()\n"
        "digest_values({Thing(n) for n in range(9)} | {'a', 'b', 'c'}, found.update)\n"
        "print(found.hexdigest())\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    }
    assert len(printed) == 1
