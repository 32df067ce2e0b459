"""Models that misbehave in a forward pass; each must come out of the gate as it went in."""

from __future__ import annotations

import copy
import functools
import random
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mischief import DEEDS, IMAGES, everything, used
from torch import Tensor, nn

from pytest_pan import InputError
from pytest_pan.instrument.gate import borrowed, copied, kept_randomness, on_device
from pytest_pan.instrument.tap import Tap, tapped


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("deed", DEEDS)
def test_whatever_the_forward_pass_does_the_model_comes_out_as_it_went_in(
    deed: str, fails: bool
) -> None:
    model = used(DEEDS[deed], fails)
    before = everything(model)
    try:
        with borrowed(model, seed=1) as inside, tapped(Tap(inside, lambda call: None)) as tap:
            tap.begin()
            inside(IMAGES)
    except (RuntimeError, AttributeError, TypeError):
        assert fails or deed in FATAL
    assert everything(model) == before
    model.deed, model.fails = (lambda m, x: None), False
    model.train()(IMAGES).sum().backward()


FATAL = {"replaces the values of a weight"}
"""After these the network cannot go on, so that its own forward pass raises."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_also_when_it_is_interrupted(error: type[BaseException]) -> None:
    def interrupt(model: Any, x: Tensor) -> None:
        model.count += 1
        raise error

    model = used(interrupt)
    before = everything(model)
    tap = Tap(model, lambda call: None)
    with pytest.raises(error), borrowed(model, seed=1) as inside, tapped(tap):
        inside(IMAGES)
    assert everything(model) == before


def test_the_deeds_do_change_the_model_when_nothing_guards_it() -> None:
    """The check of the checks: without the gate every deed shows."""
    for name, deed in DEEDS.items():
        model = used(deed)
        before = everything(model)
        with torch.no_grad():
            deed(model, IMAGES)
        assert everything(model) != before, name


@functools.lru_cache
def grid(size: int) -> Tensor:
    """A cache beyond the model, such as many position encodings have."""
    return torch.linspace(0, 1, size)


def test_what_a_model_caches_outside_of_itself_can_still_be_trained_with() -> None:
    """Under inference_mode it could not: "Inference tensors cannot be saved for backward"."""
    grid.cache_clear()

    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * grid(x.shape[-1])

    model = Positioned()
    with borrowed(model, seed=0):
        model(IMAGES)
    model(IMAGES).sum().backward()
    assert model.conv.weight.grad is not None


def test_a_model_that_differentiates_inside_its_forward_pass_can_be_audited() -> None:
    def gradient(model: Any, x: Tensor) -> None:
        with torch.enable_grad():
            y = x.clone().requires_grad_()
            torch.autograd.grad(model.conv(y).square().sum(), y)

    model = used(gradient)
    before = everything(model)
    with borrowed(model, seed=0):
        model(IMAGES)
    assert everything(model) == before


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
)
def test_normalised_weights_old_and_new_stay_trainable(wrap: Any) -> None:
    model = nn.Sequential(wrap(nn.Conv2d(1, 2, 3, padding=1))).train()
    model(IMAGES).sum().backward()
    before = everything(model)
    with borrowed(model, seed=0):
        model(IMAGES)
    assert everything(model) == before
    model(IMAGES).sum().backward()


def test_a_module_in_two_places_is_put_back_once_and_whole() -> None:
    layer = nn.BatchNorm2d(1)
    model = nn.Sequential(layer, nn.Sequential(layer)).train()
    with borrowed(model, seed=0):
        assert not layer.training
    assert layer.training
    assert model[0] is model[1][0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
@pytest.mark.parametrize("training", [True, False])
def test_a_scripted_part_keeps_its_flag_and_its_buffers(training: bool) -> None:
    part = torch.jit.script(nn.Sequential(nn.BatchNorm2d(1), nn.Dropout()))
    model = nn.Sequential(part).train(training)
    with borrowed(model, seed=0):
        assert not part.training
        model(IMAGES)
        next(part.buffers()).fill_(9)
    assert {module.training for module in part.modules()} == {training}
    assert next(part.buffers()).tolist() == [0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_frozen_script_which_has_no_flag_gets_none() -> None:
    part = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.ReLU()).eval()))
    with borrowed(nn.Sequential(part), seed=0) as model:
        model(IMAGES)
    assert not hasattr(part, "training")


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.LazyConv2d(2, 3, padding=1), "0.weight: lazy parameter"),
        (nn.LazyBatchNorm2d(), "0.weight: lazy parameter"),
        (nn.LazyBatchNorm2d(affine=False), "0.running_mean: lazy buffer"),
    ],
)
def test_lazy_modules_are_refused_with_the_way_out_and_ran_once_are_fine(
    layer: nn.Module, kind: str
) -> None:
    model = nn.Sequential(layer)
    message = kind + r" is not initialised.*Run the model once"
    with pytest.raises(InputError, match=message), borrowed(model, seed=0):
        pytest.fail("came in")
    model(IMAGES)
    with borrowed(model, seed=0):
        model(IMAGES)


def draws() -> tuple[float, float, float]:
    return float(torch.rand(1)), float(np.random.rand()), random.random()


def _raise_unless_equal(drawn: Any, expected: Any) -> None:
    """LookupError, as a model might raise, where they are equal."""
    raise LookupError if drawn == expected else AssertionError((drawn, expected))


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 7, 2**64 - 1, 2**80])
def test_any_whole_number_seeds_and_the_users_own_draws_go_on_undisturbed(seed: int) -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = [draws(), draws()]
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    first = draws()
    with kept_randomness(seed):
        inside = draws()
    with pytest.raises(LookupError), kept_randomness(seed):
        _raise_unless_equal(draws(), inside)
    assert [first, draws()] == expected


def test_the_seed_decides_what_is_drawn_inside() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        with borrowed(nn.Identity(), seed=seed):
            return draws()

    assert drawn(1) == drawn(1)
    assert all(a != b for a, b in zip(drawn(1), drawn(2), strict=True))


def test_inside_all_of_it_is_evaluation_without_gradients() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval(), nn.Conv2d(1, 1, 3)).train(True)
    model[1].eval()
    with borrowed(model, seed=0):
        assert not any(module.training for module in model.modules())
        assert not model(IMAGES).requires_grad
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_gates_in_one_another_put_back_in_order() -> None:
    model = used(DEEDS["counts in a buffer"])
    before = everything(model)
    with borrowed(model, seed=0):
        model(IMAGES)
        within = everything(model)
        with borrowed(model, seed=1):
            model(IMAGES)
        assert everything(model) == within
    assert everything(model) == before


def test_a_model_of_inference_tensors_comes_out_as_it_went_in_too() -> None:
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)).train()
    before = copy.deepcopy(model.state_dict())
    with borrowed(model, seed=0), torch.inference_mode():
        model(IMAGES)
        model[1].running_mean.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


META = torch.device("meta")


def test_a_copy_leaves_the_original_where_it_lies() -> None:
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 3), norm=nn.BatchNorm2d(1)))
    there = on_device(model, META)
    assert {value.device.type for value in there.state_dict().values()} == {"meta"}
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert on_device(nn.Sequential(nn.ReLU()), torch.device("cpu"))[0]


def test_a_model_that_cannot_be_copied_says_so_and_what_to_do() -> None:
    model = nn.Conv2d(1, 1, 3)
    model.lock = threading.Lock()
    with pytest.raises(InputError, match=r"Conv2d: cannot copy the model to meta .*Move it there"):
        on_device(model, META)
    with pytest.raises(InputError, match=r"Conv2d: cannot copy the model \(.*lock.*Does it hold"):
        copied(model)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_a_copy_of_a_model_with_computed_weights_computes_the_same(norm: Any) -> None:
    """They have a history, which deepcopy refuses."""
    model = nn.Sequential(norm(nn.Conv2d(1, 2, 3, padding=1)))
    model(IMAGES).sum().backward()
    model.kept = {"last": model(IMAGES)}
    model.eval()
    twin = copied(model)
    assert torch.equal(twin(IMAGES), model(IMAGES))
    assert torch.equal(twin.kept["last"], model.kept["last"])
    twin.train()(IMAGES).sum().backward()
    assert twin[0].bias is not model[0].bias
    assert on_device(model, META)[0].bias.is_meta


def test_a_model_on_the_meta_device_is_refused_with_the_way_out() -> None:
    with META:
        model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 3))
    message = "1.weight: parameter is on the meta device and has no values.*load its weights"
    with pytest.raises(InputError, match=message), borrowed(model, seed=0):
        pytest.fail("came in")
    with pytest.raises(InputError, match=message):
        on_device(model, torch.device("cpu"))


def test_an_autocast_around_the_gate_does_not_reach_the_model_and_goes_on_after_it() -> None:
    """What is recorded as float32 must be that."""
    model = nn.Conv2d(1, 1, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        with borrowed(model, seed=0):
            assert model(IMAGES).dtype == torch.float32
        assert F.conv2d(IMAGES, model.weight).dtype == torch.bfloat16
