"""The gate: a model comes out as it went in, also when it raised."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_pan import InputError, audit
from pytest_pan.instrument.gate import borrowed, on_device

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


class Restless(nn.Module):
    """Does all that a forward pass should not: counts, caches, draws, replaces, works in place."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.normalised = nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 3, padding=1))
        self.norm, self.drop = nn.BatchNorm2d(2), nn.Dropout()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("last", torch.zeros(2))
        self.fails, self.cache = fails, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x.mean((1, 2, 3))[:2]
        self.cache = self.new_attribute = x
        x = self.drop(self.norm(self.normalised(self.conv(x)))) + torch.rand(1)
        random.random()
        np.random.rand()
        if self.fails:
            raise RuntimeError("half-way")
        return x


def state(model: nn.Module) -> dict[str, Any]:
    """All that could have changed, comparable."""
    attributes = {
        name: {key: id(value) for key, value in vars(module).items() if key[0] != "_"}
        for name, module in model.named_modules()
    }
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "places": {k: v.data_ptr() for k, v in model.state_dict().items()},
        "flags": [module.training for module in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "gradients": [(p.requires_grad, p.grad) for p in model.parameters()],
        "attributes": attributes,
        "modes": [m.padding_mode for m in model.modules() if isinstance(m, nn.Conv2d)],
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "torch": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_an_audit_leaves_the_model_and_the_random_generators_as_they_were(fails: bool) -> None:
    model = Restless(fails).train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    images = torch.rand(4, 1, 8, 8)
    before = state(model)
    try:
        audit(model, images)
    except Exception as error:
        assert fails
        assert "half-way" in str(error)
    after = state(model)
    weights, expected = after.pop("weights"), before.pop("weights")
    assert after == before
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[key], expected[key]) for key in weights)
    assert model.cache is None


def test_the_model_can_be_trained_afterwards() -> None:
    model = Restless(fails=False).train()
    audit(model, torch.rand(4, 1, 8, 8))
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    assert model.conv.weight.grad is not None


def test_inside_it_is_evaluation_and_outside_it_is_what_it_was() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with borrowed(model, seed=0):
        assert [m.training for m in model.modules()] == [False] * 3
    assert [m.training for m in model.modules()] == [True, True, False]


def test_the_seed_decides_what_is_drawn_inside() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        with borrowed(nn.Identity(), seed=seed):
            return float(torch.rand(1)), random.random(), float(np.random.rand())

    assert drawn(1) == drawn(1)
    assert all(a != b for a, b in zip(drawn(1), drawn(2), strict=True))


def test_a_lazy_model_that_never_ran_is_an_error_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"0\.weight: lazy parameter.*Run the model once"):
        audit(nn.Sequential(nn.LazyConv2d(2, 3, padding=1)), torch.rand(4, 1, 8, 8))


def test_on_its_own_device_the_model_itself_runs_and_elsewhere_a_copy() -> None:
    model = nn.Conv2d(1, 1, 3)
    assert on_device(model, torch.device("cpu")) is model
    there = on_device(model, torch.device("meta"))
    assert there is not model
    assert model.weight.device.type == "cpu"
