"""Networks that compute the same numbers, and yet are not the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_pan.engine import pipeline
from pytest_pan.engine.audits import Ledger
from pytest_pan.engine.fingerprint import fingerprint
from pytest_pan.inputs.images import Images
from pytest_pan.records.audit import Settings

IMAGES = torch.rand(9, 1, 10, 10, generator=torch.Generator().manual_seed(0))
SWITCH = {"on": False}
CPU = Settings(device="cpu")


class Net(nn.Module):
    """Does something to its input and its output while the switch is on."""

    def __init__(self, first: Callable[..., Any], last: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.first, self.last = nn.Conv2d(1, 6, 3), first, last

    def forward(self, x: Tensor) -> Any:
        y = self.conv(self.first(x) if SWITCH["on"] else F.pad(x, (1, 1, 1, 1))).mean((2, 3))
        return self.last(y) if SWITCH["on"] else y


def pad(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1))


def pad_out_of_sight(x: Tensor) -> Tensor:
    return torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))))


OTHERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "the shape of the outputs": (pad, lambda y: y.unflatten(1, (3, 2, 1))),
    "their parts": (pad, lambda y: y.split(3, 1)),
    "their names": (pad, lambda y: {"logits": y}),
    "where they are padded": (pad_out_of_sight, lambda y: y),
    "what is done to several images": (pad, lambda y: y - y.mean(0) if len(y) > 1 else y),
}


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    SWITCH["on"] = False
    yield
    SWITCH["on"] = False


@pytest.mark.parametrize(("first", "last"), OTHERS.values(), ids=OTHERS)
def test_what_the_numbers_mean_is_part_of_the_fingerprint(
    first: Callable[..., Any], last: Callable[..., Any]
) -> None:
    model = Net(first, last)
    before = fingerprint(model, Images(IMAGES), settings=CPU)
    SWITCH["on"] = True
    assert fingerprint(model, Images(IMAGES), settings=CPU).network != before.network


def test_an_audit_under_another_default_type_is_another_one() -> None:
    ledger, model = Ledger(CPU), Net(pad, pad)
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            audit = ledger.audit(model, IMAGES, {}, lambda done, expected: None)
            assert audit.environment["default_dtype"] == str(dtype).removeprefix("torch.")
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_the_audit_itself_changes_makes_no_other_audit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counting(Net):
        calls = 0

        def forward(self, x: Tensor) -> Any:
            type(self).calls += 1
            return super().forward(x)

    made: list[object] = []
    run = pipeline.run
    monkeypatch.setattr(pipeline, "run", lambda *a, **k: made.append(1) or run(*a, **k))
    ledger, model = Ledger(CPU), Counting(pad, pad)
    for _ in range(3):
        ledger.audit(model, IMAGES, {}, lambda done, expected: None)
    assert len(made) == 1
