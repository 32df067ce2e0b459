"""Whatever the user's code raises, and wherever, is an error with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pytest_pan
from pytest_pan.records.errors import AuditError, InputError

IMAGES = torch.rand(4, 1, 8, 8)


class Silent(Exception):  # noqa: N818 - a user's
    def __str__(self) -> str:
        raise ValueError


class Broken(nn.Module):
    """Raises in one method."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

        def broken(*_args: Any, **_kwargs: Any) -> Any:
            raise error

        self.__dict__[method] = broken

    def forward(self, x: Tensor) -> Any:
        return self.conv(x)


@pytest.mark.parametrize("method", ["state_dict", "parameters", "named_modules"])
def test_a_model_that_raises_when_it_is_looked_at_is_an_input_error(method: str) -> None:
    with pytest.raises(InputError, match=r"raised RuntimeError at .*test_failures.py:\d+: gone"):
        pytest_pan.audit(Broken(method, RuntimeError("gone")), IMAGES)


@pytest.mark.parametrize(("method", "kind"), [("forward", AuditError), ("parameters", InputError)])
def test_an_error_whose_message_raises_is_named_by_its_class(
    method: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"raised Silent at .*: its message cannot be printed"):
        pytest_pan.audit(Broken(method, Silent()), IMAGES)
