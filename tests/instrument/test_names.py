"""A site has the name of the module that runs, whatever runs around it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seam import IMAGES, WEIGHT, Calls, conv, names, seen
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from pytest_pan.instrument.tap import Tap, tapped, unseen_convolutions


def test_calls_are_numbered_by_module_and_anew_in_every_forward_pass() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(m.c(m.c(x)), WEIGHT), WEIGHT)

    model = nn.Sequential(Calls(forward, c=conv(padding=1)), conv(padding=1))
    found: list[str] = []
    with tapped(Tap(model, lambda call: found.append(call.name))) as tap:
        for _ in range(2):
            tap.begin()
            model(IMAGES)
    assert found == ["0.c", "0.c#2", "0", "0#2", "1"] * 2
    assert names(Calls(forward, c=conv())) == ["c", "c#2", "(model)", "(model)#2"]
    assert names(conv(padding=1)) == ["(model)"]


@pytest.mark.parametrize(
    "wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, lambda layer: layer]
)
def test_a_parametrised_convolution_is_seen_once_under_its_own_name(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    layer = wrap(conv(padding=1, groups=4))
    (call,) = seen(nn.Sequential(nn.Identity(), layer))
    assert (call.name, call.groups, call.kernel) == ("1", 4, (3, 3))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_the_old_weight_norm_is_seen() -> None:
    assert names(nn.Sequential(nn.utils.weight_norm(conv(padding=1)))) == ["0"]


def test_modules_shared_under_two_names_are_two_sites_of_the_first() -> None:
    layer = conv(padding=1)
    model = nn.Sequential(layer, nn.Sequential(layer))
    assert names(model) == ["0", "0#2"]
    assert unseen_convolutions(model, {"0", "0#2"}) == []


def test_a_copy_of_the_model_made_inside_the_forward_pass_is_named_after_the_caller() -> None:
    model = Calls(lambda m, x: copy.deepcopy(m.c)(m.c(x)), c=conv(padding=1))
    assert names(model) == ["c", "(model)"]


def test_a_checkpointed_block_keeps_its_names() -> None:
    model = Calls(
        lambda m, x: checkpoint(m.block, x, use_reentrant=False),
        block=nn.Sequential(conv(padding=1), conv(padding=1)),
    )
    assert names(model) == ["block.0", "block.1"]


def test_under_functional_call_the_names_are_the_modules() -> None:
    inner = nn.Sequential(conv(padding=1))
    weights = {name: value * 2 for name, value in inner.named_parameters()}
    model = Calls(lambda m, x: torch.func.functional_call(m.inner, weights, x), inner=inner)
    (call,) = seen(model)
    assert call.name == "inner.0"
    assert torch.equal(call.weight, inner[0].weight * 2)


class Quiet(TorchFunctionMode):
    """Another tool's mode, inside ours."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [Quiet, lambda: torch.device("cpu"), torch.no_grad])
def test_another_mode_inside_the_model_hides_nothing(mode: Callable[[], Any]) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with mode():
            return m.c(F.pad(x, (1, 1, 1, 1)))

    (call,) = seen(Calls(forward, c=conv()))
    assert (call.name, call.site().padding) == ("c", (1, 1, 1, 1))


def test_another_mode_around_the_tap_sees_nothing_less_and_changes_nothing() -> None:
    with Quiet():
        assert names(nn.Sequential(conv(padding=1))) == ["0"]


def test_two_taps_in_one_another_both_see_all() -> None:
    outer: list[str] = []
    model = nn.Sequential(conv(padding=1), conv(padding=1))
    with tapped(Tap(model, lambda call: outer.append(call.name))):
        assert names(model) == outer == ["0", "1"]


def test_hooks_of_the_user_that_run_convolutions_do_not_shift_the_names() -> None:
    model = nn.Sequential(conv(padding=1), conv(padding=1))
    model[0].register_forward_pre_hook(lambda m, args: (F.conv2d(args[0], WEIGHT, padding=1),))
    model[0].register_forward_hook(lambda m, args, out: F.conv2d(out, WEIGHT, padding=1))
    found = names(model)
    assert len(found) == len(set(found)) == 4
    assert found[-1] == "1"


def test_a_user_hook_that_raises_and_is_caught_leaves_the_names_right() -> None:
    def refuse(module: nn.Module, args: Any) -> None:
        raise KeyError("refused")

    def forward(m: Any, x: Tensor) -> Tensor:
        with pytest.raises(KeyError):
            m.bad(x)
        return F.conv2d(m.good(x), WEIGHT, padding=1)

    model = Calls(forward, bad=nn.Sequential(conv()), good=conv(padding=1))
    model.bad[0].register_forward_pre_hook(refuse)
    assert names(model) == ["good", "(model)"]


def test_another_thread_in_the_same_model_does_not_disturb_the_names() -> None:
    """Global hooks fire in every thread: a served model may be in use while it is audited."""
    ready, done = threading.Event(), threading.Event()

    def block(module: nn.Module, x: Tensor) -> Tensor:
        if threading.current_thread() is not threading.main_thread():
            ready.set()
            done.wait(10)
        return x

    model = nn.Sequential(nn.Sequential(Calls(block)), conv(padding=1))
    calls: list[str] = []
    with tapped(Tap(model, lambda call: calls.append(call.name))) as tap:
        tap.begin()
        other = threading.Thread(target=model[0], args=(IMAGES,))
        other.start()
        assert ready.wait(10)
        model(IMAGES)
        F.conv2d(IMAGES, WEIGHT)
        done.set()
        other.join()
    assert calls == ["1", "(model)"]


def test_a_pass_that_broke_off_does_not_change_the_numbers_of_the_next() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.c(x)
        if x.shape[0] == 1:
            raise KeyboardInterrupt
        return m.c(x)

    model, calls = Calls(forward, c=conv(padding=1)), []
    with tapped(Tap(model, lambda call: calls.append(call.name))) as tap:
        tap.begin()
        with pytest.raises(KeyboardInterrupt):
            model(IMAGES[:1])
        tap.begin()
        model(IMAGES)
    assert calls == ["c", "c", "c#2"]


def test_a_name_with_a_number_sign_is_not_taken_for_a_second_call() -> None:
    model = nn.ModuleDict({"a#b": conv(padding=1)})
    wrapper = Calls(lambda m, x: m.d["a#b"](x), d=model)
    found = names(wrapper)
    assert found == ["d.a#b"]
    assert unseen_convolutions(wrapper, set(found)) == []


def test_a_compiled_part_runs_as_written_and_is_seen() -> None:
    model = nn.Sequential(torch.compile(nn.Sequential(conv(padding=1)), backend="eager"))
    (name,) = names(model)
    assert name.startswith("0.")
    inner = nn.Sequential(conv(padding=1))
    inner.compile(backend="eager")
    assert names(inner) == ["0"]
