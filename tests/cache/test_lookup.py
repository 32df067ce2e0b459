"""What another process's audit of the same has ended by is said again, and of nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pytest_pan import AuditError
from pytest_pan.cache.lookup import recall
from pytest_pan.cache.store import Cache
from pytest_pan.engine.pipeline import run
from pytest_pan.inputs.images import Images
from pytest_pan.records.audit import Audit, Settings

SETTINGS = Settings(device="cpu", batch_size=4)
IMAGES = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Picky(nn.Module):
    """Raises on images that are brighter than 9."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        nn.init.ones_(self.conv.weight)
        nn.init.ones_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        if (x > 9).any():
            raise RuntimeError("too bright")
        return self.conv(x)  # type: ignore[no-any-return]


class Pictures(Dataset[Tensor]):
    """Images of which one may be bright, and one broken."""

    def __init__(self, bright: int = -1, broken: int = -1, last: float = 0.5) -> None:
        self.images = IMAGES.clone()
        self.images[11] = last
        if bright >= 0:
            self.images[bright] = 10
        self.broken = broken

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        if index == self.broken:
            raise OSError("broken")
        return self.images[index]


Ask = Callable[[Pictures, int], "Audit | str"]


@pytest.fixture
def made() -> list[int]:
    """The processes that made an audit."""
    return []


@pytest.fixture
def ask(tmp_path: Path, made: list[int], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks as a process of that number for an audit; gives it, or the text of the error."""

    def ask(images: Pictures, process: int) -> Audit | str:
        monkeypatch.setattr(os, "getpid", lambda: process)

        def compute() -> Audit:
            made.append(process)
            return run(Picky(), images, settings=SETTINGS)

        cache, source = Cache(folder=tmp_path, run="run"), Images(images, batch_size=4)
        given: dict[str, Any] = {"settings": SETTINGS, "compute": compute, "fingerprint": "one"}
        try:
            return recall(cache, images, source, **given)
        except AuditError as error:
            assert error.audit is not None
            assert error.audit.partial
            return str(error)

    return ask


def test_a_model_that_raises_on_the_same_images_is_not_run_again(ask: Ask, made: list[int]) -> None:
    failure = ask(Pictures(bright=6), 1)
    assert "the model raised RuntimeError" in str(failure)
    assert ask(Pictures(bright=6), 2) == failure
    assert ask(Pictures(bright=6, last=0.7), 3) == failure  # it never came to the last
    assert made == [1]
    assert "too bright" in str(ask(Pictures(bright=5), 4))
    assert isinstance(ask(Pictures(), 5), Audit)
    assert made == [1, 4, 5]


def test_images_that_cannot_be_read_are_not_audited_again_and_those_that_can_are(
    ask: Ask, made: list[int]
) -> None:
    failure = ask(Pictures(broken=9), 1)
    assert "broken" in str(failure)
    assert ask(Pictures(broken=9), 2) == failure
    assert made == [1]
    assert isinstance(ask(Pictures(), 3), Audit)
    assert made == [1, 3]


def test_what_has_failed_in_this_process_may_be_tried_again(ask: Ask, made: list[int]) -> None:
    assert ask(Pictures(bright=6), 1) == ask(Pictures(bright=6), 1)
    assert made == [1, 1]
