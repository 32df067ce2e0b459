"""What the tap cannot see is listed with a true reason, and limits do not pass over it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seam import IMAGES, WEIGHT, Calls, conv, seen
from torch import Tensor, nn
from torch.utils import mkldnn

from pytest_pan.instrument.sites import leaves_figures_incomplete
from pytest_pan.instrument.tap import unseen_convolutions


def reasons(model: nn.Module) -> dict[str, str]:
    """Names and reasons, as an audit lists them."""
    heard: dict[str, str] = {}
    calls = {call.name for call in seen(model, passed_over=heard)}
    assert not calls & set(heard)
    return heard | dict(unseen_convolutions(model, calls | set(heard)))


def in_thread(function: Callable[[], Tensor]) -> Tensor:
    found: list[Tensor] = []

    def work() -> None:
        with torch.no_grad():
            found.append(function())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def untapped(function: Callable[[], Tensor]) -> Tensor:
    with torch._C.DisableTorchFunction():
        return function()


class Functional(nn.Module):
    """A convolution that is no nn.Conv2d."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(WEIGHT.clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1)


@pytest.mark.parametrize(
    ("where", "reason"),
    [(in_thread, "runs in another thread"), (untapped, "out of sight of torch function modes")],
)
@pytest.mark.parametrize(
    ("layer", "pads"),
    [
        (conv(padding=1), True),
        (conv(padding="same"), True),
        (nn.Sequential(nn.ReLU(), conv(padding=(0, 1))), True),
        (conv(), False),
        (conv(padding="valid"), False),
        (conv(kernel=1, padding=1), False),
    ],
)
def test_a_layer_out_of_sight_is_listed_and_limits_pass_only_without_padding(
    where: Any, reason: str, layer: nn.Module, pads: bool
) -> None:
    model = Calls(lambda m, x: where(lambda: m.b(x)) + m.a(x).mean(), a=conv(padding=1), b=layer)
    ((name, why),) = reasons(model).items()
    assert name == ("b.1" if isinstance(layer, nn.Sequential) else "b")
    assert why == reason + ("" if pads else " (no padding)")
    assert leaves_figures_incomplete(why) == pads


def test_a_functional_convolution_in_another_thread_is_listed_by_its_kernel() -> None:
    model = Calls(lambda m, x: in_thread(lambda: m.b(x)), b=Functional(), c=nn.ReLU())
    assert reasons(model) == {"b": "runs in another thread"}


def test_a_layer_that_runs_here_too_is_seen() -> None:
    model = Calls(lambda m, x: in_thread(lambda: m.a(x)) + m.a(x), a=conv(padding=1))
    assert reasons(model) == {}


def test_a_layer_whose_forward_pass_raised_is_not_said_to_be_out_of_sight() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with pytest.raises(RuntimeError):
            m.a(x[:, :1])
        return x

    assert reasons(Calls(forward, a=conv(padding=1))) in ({}, {"a": "never called"})


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("layers", "pads"),
    [
        ([conv(padding=1)], True),
        ([conv(padding="same")], True),
        ([conv(padding=1, padding_mode="reflect")], True),
        ([conv(), nn.ReLU()], False),
    ],
)
def test_torchscript_with_padding_keeps_limits_from_passing(
    layers: list[nn.Module], pads: bool, frozen: bool
) -> None:
    part = torch.jit.script(nn.Sequential(*layers).eval())
    part = torch.jit.freeze(part) if frozen else part
    ((name, why),) = reasons(Calls(lambda m, x: m.part(x), part=part)).items()
    assert name == ("part" if frozen else "part.0")
    assert why.startswith("TorchScript: its convolutions cannot be seen")
    assert leaves_figures_incomplete(why) == pads


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_convolution_of_another_kind_in_torchscript_may_pad() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("MKL-DNN is not available")
    part = mkldnn.to_mkldnn(nn.Sequential(conv(padding=1)).eval())
    heard = dict(unseen_convolutions(Calls(lambda m, x: x, part=part), set()))
    assert leaves_figures_incomplete(heard["part.0"])


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("padding", [0, 1])
def test_quantised_convolutions_with_padding_keep_limits_from_passing(padding: int) -> None:
    quantised = pytest.importorskip("torch.ao.nn.quantized")

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.q(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()

    model = Calls(forward, q=quantised.Conv2d(4, 4, 3, padding=padding))
    try:
        found = reasons(model)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"no quantised kernels here: {error}")
    assert list(found) == ["q"]
    assert "quantised" in found["q"]
    assert leaves_figures_incomplete(found["q"]) == bool(padding)


def test_very_long_names_are_cut_in_the_middle_and_stay_apart() -> None:
    middle = {letter: f"{'a' * 2500}{letter}{'z' * 2499}" for letter in "xy"}
    parts = nn.ModuleDict({name: conv(padding=1) for name in middle.values()})
    idle = conv(padding=1)
    model = Calls(
        lambda m, x: m.d[middle["x"]](x) + m.d[middle["y"]](x), d=parts, **{"i" * 5000: idle}
    )
    sites = [call.site().name for call in seen(model, IMAGES)]
    assert len(set(sites)) == 2
    assert all(len(name) <= 200 and name.startswith("d.aaa") for name in sites)
    ((name, why),) = unseen_convolutions(model, set(sites))
    assert (name[:3], len(name) <= 200, why) == ("iii", True, "never called")
