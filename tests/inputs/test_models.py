"""Models from specs and in wrappers, and the digest that tells one from another."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_pan import InputError
from pytest_pan.inputs.models import load_model, model_facts


def module_of(**contents: Any) -> str:
    """An importable module with these contents, made up for one test."""
    import sys

    module = types.ModuleType("made_up_models")
    vars(module).update(contents)
    sys.modules["made_up_models"] = module
    return "made_up_models"


def without_weights(path: str = "weights/net.pth") -> nn.Module:
    nn.Linear(1, 1).load_state_dict(torch.load(path, weights_only=True))
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", ["AttributeError", "missing"]),
        ("without_weights", ["FileNotFoundError", "weights/net.pth", "weights file"]),
        ("nothing", ["not a model", "NoneType", "torch.nn.Module"]),
        ("number", ["TypeError", "not callable"]),
        ("needs_more", ["TypeError", "width"]),
        ("Net.absent", ["AttributeError", "absent"]),
        ("", ["module:callable", "torchvision.models:mobilenet_v2"]),
    ],
)
def test_a_spec_that_gives_no_model_says_which_and_why(name: str, words: list[str]) -> None:
    module = module_of(
        without_weights=without_weights,
        nothing=lambda: None,
        number=3,
        needs_more=lambda width: nn.Conv2d(1, width, 3),
        Net=nn.Conv2d,
    )
    with pytest.raises(InputError) as info:
        load_model(f"{module}:{name}")
    assert all(word in str(info.value) for word in [f"'{module}:{name}'", *words])


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_torchscript_behind_a_spec_names_the_spec() -> None:
    module = module_of(scripted=lambda: torch.jit.script(nn.ReLU()))
    with pytest.raises(InputError, match=rf"'{module}:scripted'.*TorchScript.*Audit the eager"):
        load_model(f"{module}:scripted")


@pytest.mark.parametrize("model", [nn.Conv2d, {"weight": torch.zeros(1)}, None, lambda x: x])
def test_what_is_no_model_is_refused_with_what_is(model: object) -> None:
    with pytest.raises(
        InputError, match=r"not a model, got \w+; allowed: a torch.nn.Module, or 'mod"
    ):
        load_model(model)


def test_wrappers_come_off_in_any_order_and_a_spec_may_reach_into_a_class() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 1, 3))
    wrapped = torch.compile(nn.DataParallel(torch.compile(inner, backend="eager")), backend="eager")
    module = module_of(
        net=wrapped, Zoo=types.SimpleNamespace(net=lambda width: nn.Linear(1, width))
    )
    assert load_model(wrapped) is load_model(f"{module}:net") is inner
    found = load_model(f"{module}:Zoo.net", {"width": 4})
    assert isinstance(found, nn.Linear)
    assert found.out_features == 4


KINDS: list[Tensor] = [
    torch.tensor(3),
    torch.tensor([True, False]),
    torch.zeros(0),
    torch.ones(2, dtype=torch.bfloat16),
    torch.ones(2).to(torch.float8_e4m3fn),
    torch.tensor([1 + 2j]).conj(),
    torch.eye(3).to_sparse(),
    torch.rand(3, 4).T,
]


@pytest.mark.parametrize("buffer", KINDS, ids=lambda b: f"{b.dtype}{tuple(b.shape)}")
def test_every_kind_of_buffer_is_in_the_digest(buffer: Tensor) -> None:
    def digest(value: Tensor) -> str:
        model = nn.Identity()
        model.register_buffer("kept", value)
        return str(model_facts(model)["digest"])

    same = buffer.clone()
    assert digest(buffer) == digest(same)
    assert digest(buffer) != digest(torch.full((7,), 3.5))
    if buffer.numel():
        changed = buffer.to_dense() if buffer.is_sparse else buffer.clone()
        changed[(0,) * changed.dim()] = 0 if buffer.is_sparse or buffer.dtype == torch.bool else 2
        assert digest(buffer) != digest(changed)


@pytest.mark.filterwarnings("ignore:.*")
def test_the_digest_of_a_quantised_part_tells_its_weights() -> None:
    quantised = pytest.importorskip("torch.ao.nn.quantized")
    try:
        models = [nn.Sequential(quantised.Conv2d(1, 2, 3)) for _ in range(2)]
        for model, value in zip(models, (0.5, -0.5), strict=True):
            weight = torch.quantize_per_tensor(torch.full((2, 1, 3, 3), value), 0.1, 0, torch.qint8)
            model[0].set_weight_bias(weight, None)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"no quantised kernels here: {error}")
    first, second = (model_facts(model)["digest"] for model in models)
    assert first != second
    assert first == model_facts(models[0])["digest"]


def test_the_digest_is_of_the_weights_wherever_their_values_came_from() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    twin = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert model_facts(model)["digest"] != model_facts(twin)["digest"]
    twin.load_state_dict(model.state_dict())
    twin.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore
    assert model_facts(model) == model_facts(twin)
    assert model_facts(model)["digest"] != model_facts(twin.half())["digest"]
