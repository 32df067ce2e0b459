"""What a PyTorch engineer would try in order to get a padded convolution past the tap.

Longer than 350 lines: a list of ways to call a convolution, a few lines each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seam import IMAGES, WEIGHT, Calls, conv, names, seen
from torch import Tensor, nn

from pytest_pan.instrument.sites import leaves_figures_incomplete
from pytest_pan.instrument.tap import ConvCall, Tap, tapped, unseen_convolutions


def before(pad: nn.Module, **settings: Any) -> nn.Module:
    return nn.Sequential(pad, conv(**settings))


@pytest.mark.parametrize(
    ("model", "padding", "mode", "by"),
    [
        (conv(padding=1), (1, 1, 1, 1), "zeros", "conv"),
        (conv(padding=(2, 0)), (2, 2, 0, 0), "zeros", "conv"),
        (conv(kernel=(1, 7), padding=(0, 3)), (0, 0, 3, 3), "zeros", "conv"),
        (conv(padding="same"), (1, 1, 1, 1), "zeros", "conv"),
        (conv(padding="same", dilation=2), (2, 2, 2, 2), "zeros", "conv"),
        (conv(padding="valid"), (0, 0, 0, 0), "zeros", ""),
        (conv(padding=1, groups=4, stride=2), (1, 1, 1, 1), "zeros", "conv"),
        (before(nn.ZeroPad2d((0, 1, 2, 3))), (2, 3, 0, 1), "zeros", "pad"),
        (before(nn.ConstantPad2d(1, 5.0)), (1, 1, 1, 1), "constant", "pad"),
        (before(nn.ConstantPad2d(1, 0.0)), (1, 1, 1, 1), "zeros", "pad"),
        (before(nn.ReflectionPad2d(2)), (2, 2, 2, 2), "reflect", "pad"),
        (before(nn.ReplicationPad2d((1, 0, 0, 2))), (0, 2, 1, 0), "replicate", "pad"),
        (before(nn.CircularPad2d(1)), (1, 1, 1, 1), "circular", "pad"),
        (before(nn.ZeroPad2d((0, 1, 0, 1)), padding=1), (1, 2, 1, 2), "zeros", "pad+conv"),
        (before(nn.ReflectionPad2d(1), padding=1), (2,) * 4, "reflect+zeros", "pad+conv"),
        (before(nn.ZeroPad2d(0), padding=1), (1, 1, 1, 1), "zeros", "conv"),
        (nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2), conv()), (0, 0, 0, 0), "zeros", ""),
    ],
    ids=str,
)
def test_padding_is_known_with_its_mode_and_its_maker(
    model: nn.Module, padding: tuple[int, ...], mode: str, by: str
) -> None:
    (call,) = seen(model)
    site = call.site()
    assert (site.padding, site.mode, site.padded_by) == (padding, mode, by)
    assert site.input == (9, 9) or not by


def test_a_model_without_a_batch_and_one_under_autocast_are_seen() -> None:
    (call,) = seen(conv(padding=1), IMAGES[0])
    assert (call.site().map, call.site().input, call.site().channels) == ((9, 9), (9, 9), 4)
    (call,) = seen(before(nn.ZeroPad2d(1)), precision="bfloat16")
    assert call.output.dtype == torch.bfloat16
    assert call.site().padding == (1, 1, 1, 1)


def test_convolutions_that_never_ran_are_listed_and_those_that_did_are_not() -> None:
    model = Calls(
        lambda m, x: m.used(x), used=conv(), idle=conv(), line=nn.ConvTranspose1d(1, 1, 3)
    )
    assert unseen_convolutions(model, set(names(model))) == [
        ("idle", "never called"),
        ("line", "never called"),
    ]
    assert unseen_convolutions(conv(), set(names(conv()))) == []


class Same(nn.Conv2d):
    """TF-"SAME": the total is what makes the output ceil(n / stride), the odd line at the end."""

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for n, k, s in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            total = max((-(-n // s) - 1) * s + k - n, 0)
            sides = [total // 2, total - total // 2, *sides]
        return F.conv2d(F.pad(x, sides), self.weight, self.bias, self.stride)


@pytest.mark.parametrize("size", [8, 9, 10, 11])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_the_tf_same_subclass_is_a_site_whose_padding_is_all_consumed(
    size: int, stride: int, kernel: int
) -> None:
    """TensorFlow's rule pads exactly as much as is read, and gives ceil(n / stride)."""
    (call,) = seen(
        Calls(lambda m, x: m.c(x), c=Same(1, 2, kernel, stride)), torch.rand(1, 1, size, size)
    )
    site = call.site()
    assert (site.name, site.input, site.map) == ("c", (size, size), (-(-size // stride),) * 2)
    assert site.padding == site.consumed


PADS: list[Callable[[Tensor], Tensor]] = [
    lambda x: F.pad(x, (1, 2, 3, 4)),
    lambda x: F.pad(input=x, pad=(1, 2, 3, 4), value=0),
    lambda x: F.pad(x, [1, 2, 3, 4, 0, 0]),
    lambda x: F.pad(x, tuple(np.array([1, 2, 3, 4]))),
    lambda x: F.pad(F.pad(x, (1, 2)), (0, 0, 3, 4)),
    lambda x: F.pad(F.pad(x, (3, 3, 3, 5)), (-2, -1, 0, -1)),
    lambda x: torch.constant_pad_nd(x, (1, 2, 3, 4), 0),
    lambda x: torch.ops.aten.pad.default(x, [1, 2, 3, 4]),
    lambda x: torch.ops.aten.constant_pad_nd.default(x, [1, 2, 3, 4]),
    lambda x: F.pad(x, (1, 2, 3, 4)).contiguous(memory_format=torch.channels_last),
    lambda x: F.pad(x, (1, 2, 3, 4)).double().float(),
    lambda x: F.pad(x, (1, 2, 3, 4)).clone().detach(),
    lambda x: F.dropout(nn.Identity()(F.pad(x, (1, 2, 3, 4))), training=False),
]


@pytest.mark.parametrize("pad", PADS)
def test_every_way_to_lay_zeros_around_a_map_is_the_same_site(
    pad: Callable[[Tensor], Tensor],
) -> None:
    (call,) = seen(Calls(lambda m, x: m.c(pad(x)), c=conv()))
    site = call.site()
    assert (site.name, site.padding, site.input) == ("c", (3, 4, 1, 2), (9, 9))
    assert (site.mode, site.padded_by) == ("zeros", "pad")


@pytest.mark.parametrize(
    ("pad", "mode"),
    [
        (lambda x: torch._C._nn.reflection_pad2d(x, (1, 1, 1, 1)), "reflect"),
        (lambda x: torch._C._nn.replication_pad2d(x, (1, 1, 1, 1)), "replicate"),
        (lambda x: F.pad(x, (1, 1, 1, 1), value=-1.5), "constant"),
        (lambda x: F.pad(x, (1, 1, 1, 1), "circular"), "circular"),
    ],
)
def test_the_mode_of_a_pad_is_named(pad: Callable[[Tensor], Tensor], mode: str) -> None:
    (call,) = seen(Calls(lambda m, x: m.c(pad(x)), c=conv()))
    assert (call.site().mode, call.site().padding) == (mode, (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("first", "second", "padding", "mode"),
    [
        (nn.ZeroPad2d(1), nn.ReflectionPad2d(1), (2, 2, 2, 2), "zeros+reflect"),
        (nn.ConstantPad2d(1, 2.0), nn.ConstantPad2d(1, 3.0), (2,) * 4, "constant+constant"),
        (nn.ReplicationPad2d(1), nn.ReplicationPad2d(2), (3, 3, 3, 3), "replicate"),
        (
            nn.ReflectionPad2d((1, 1, 0, 0)),
            nn.ReflectionPad2d((0, 0, 2, 2)),
            (2, 2, 1, 1),
            "reflect",
        ),
        (nn.ReflectionPad2d(1), nn.ReflectionPad2d(1), (2, 2, 2, 2), "reflect+reflect"),
    ],
)
def test_no_pad_of_a_pad_is_lost(
    first: nn.Module, second: nn.Module, padding: tuple[int, ...], mode: str
) -> None:
    (call,) = seen(nn.Sequential(first, second, conv()))
    site = call.site()
    assert (site.padding, site.mode, site.input) == (padding, mode, (9, 9))


def test_what_is_padded_after_a_crop_is_the_cropped_map() -> None:
    """The crop takes two lines off the top of nine; the pad then lays one above the seven left."""
    model = nn.Sequential(nn.ZeroPad2d((0, 0, -2, 0)), nn.ZeroPad2d((0, 0, 1, 0)), conv())
    (call,) = seen(model)
    assert (call.site().padding, call.site().input) == ((1, 0, 0, 0), (7, 9))


def test_a_padded_tensor_used_twice_pads_both_of_its_users_and_no_one_else() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        return m.a(padded) + m.b(padded) + m.c(x).mean() + m.d(F.relu(x)).mean()

    model = Calls(forward, a=conv(), b=conv(), c=conv(), d=conv())
    found = {call.name: call.site().padding for call in seen(model)}
    none = (0, 0, 0, 0)
    assert found == {"a": (1, 1, 1, 1), "b": (1, 1, 1, 1), "c": none, "d": none}


def test_a_dead_padded_tensor_does_not_mark_a_later_one_in_its_place() -> None:
    """Memory and identities are used again at once; the mark must die with its tensor."""

    def forward(m: Any, x: Tensor) -> Tensor:
        for _ in range(20):
            F.pad(x, (1, 1, 1, 1))
            m.c(x + 1)
        return x

    assert {call.site().padding for call in seen(Calls(forward, c=conv()))} == {(0, 0, 0, 0)}


def test_numpy_numbers_in_a_convolution_give_a_record_that_is_json() -> None:
    two = np.int64(2)
    (call,) = seen(conv(padding=two, stride=two, dilation=two))
    assert json.loads(json.dumps(call.site().to_json()))["padding"] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.conv2d(x, WEIGHT, None, 1, 1, 1, 1),
        lambda x: F.conv2d(input=x, weight=WEIGHT, padding=(1,)),
        lambda x: torch.conv2d(x, WEIGHT, padding=[1, 1]),
        lambda x: torch.ops.aten.conv2d(x, WEIGHT, None, [1, 1], [1, 1]),
        lambda x: torch.ops.aten.conv2d.default(x, WEIGHT, None, [1, 1], [1, 1]),
        lambda x: torch.ops.aten.conv2d.padding(x, WEIGHT, None, [1, 1], "same"),
        lambda x: torch.convolution(x, WEIGHT, None, [1, 1], [1], [1, 1], False, [0], 1),
        lambda x: torch.ops.aten.convolution.default(
            x, WEIGHT, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1
        ),
    ],
)
def test_every_spelling_of_conv2d_is_a_site_of_the_module_it_stands_in(
    function: Callable[[Tensor], Tensor],
) -> None:
    model = nn.Sequential(Calls(lambda m, x: function(function(x))))
    calls = seen(model)
    assert [call.name for call in calls] == ["0", "0#2"]
    assert {call.site().padding for call in calls} == {(1, 1, 1, 1)}


@pytest.mark.parametrize("is_decomposed", [False, True])
def test_an_exported_program_is_seen(is_decomposed: bool) -> None:
    """torch.export calls operators, not modules; decomposed ones are core operators."""
    program = torch.export.export(nn.Sequential(conv(padding=1), conv(padding=2)), (IMAGES,))
    if is_decomposed:
        program = program.run_decompositions()
    assert [call.site().padding[0] for call in seen(program.module())] == [1, 2]


def test_a_graph_of_operators_is_seen() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.no_grad():
        graph = make_fx(nn.Sequential(nn.ZeroPad2d(1), conv(padding=1)))(IMAGES)
    (call,) = seen(graph)
    assert (call.site().padding, call.site().padded_by) == ((2, 2, 2, 2), "pad+conv")


def test_what_see_gives_back_is_what_the_next_layer_gets() -> None:
    """Doubling the first output doubles what a linear network gives."""
    model = nn.Sequential(conv(padding=1, bias=False), conv(padding=1, bias=False))
    with torch.no_grad():
        plain = model(IMAGES)
        double: Callable[[ConvCall], Tensor | None] = lambda call: (  # noqa: E731
            call.output * 2 if call.name == "0" else None
        )
        with tapped(Tap(model, double)) as tap:
            tap.begin()
            changed = model(IMAGES)
    assert torch.equal(changed, plain * 2)


def test_a_tap_that_only_looks_changes_no_bit_of_output_or_gradient() -> None:
    model = nn.Sequential(nn.ZeroPad2d(1), conv(), nn.ReLU(), conv(padding=1))
    plain = model(IMAGES)
    expected = torch.autograd.grad(plain.sum(), list(model.parameters()))
    with tapped(Tap(model, lambda call: None)):
        output = model(IMAGES)
    gradients = torch.autograd.grad(output.sum(), list(model.parameters()))
    assert torch.equal(output, plain)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: F.conv_transpose2d(x, WEIGHT, padding=1), "transposed"),
        (lambda x: F.conv1d(x[:, :, 0], WEIGHT[..., 0], padding=1), "conv1d"),
        (lambda x: F.conv3d(x[None], torch.rand(2, 2, 3, 3, 3), padding=1), "conv3d"),
        (
            lambda x: torch.convolution(
                x[:, :, 0], WEIGHT[..., 0], None, [1], [1], [1], False, [0], 1
            ),
            "convolution",
        ),
        (
            lambda x: torch.convolution(x, WEIGHT, None, [1], [1], [1], True, [0], 1),
            "transposed",
        ),
        (lambda x: torch.func.vmap(lambda i: F.conv2d(i, WEIGHT, padding=1))(x), "torch.func"),
        (lambda x: F.conv2d(x + 1j, WEIGHT + 1j, padding=1), "complex"),
    ],
)
def test_a_convolution_that_cannot_be_examined_is_said_with_the_reason(
    function: Callable[[Tensor], Tensor], why: str
) -> None:
    heard: dict[str, str] = {}
    assert not seen(nn.Sequential(Calls(lambda m, x: function(x))), passed_over=heard)
    assert list(heard) == ["0"]
    assert why in heard["0"]


@pytest.mark.parametrize("padding", [0, 1])
def test_limits_pass_over_such_a_convolution_only_if_it_pads_nothing(padding: int) -> None:
    def function(x: Tensor) -> Tensor:
        mapped = torch.func.vmap(lambda i: F.conv2d(i, WEIGHT, padding=padding))(x)
        return mapped + F.conv2d(x + 1j, WEIGHT + 1j, padding=padding)

    heard: dict[str, str] = {}
    seen(nn.Sequential(Calls(lambda m, x: function(x))), passed_over=heard)
    assert [leaves_figures_incomplete(why) for why in heard.values()] == [bool(padding)] * 2


@pytest.mark.parametrize("padding", [0, 1])
def test_limits_do_not_pass_over_a_padded_deformable_convolution(padding: int) -> None:
    from torchvision.ops import deform_conv2d

    heard: dict[str, str] = {}
    side = IMAGES.shape[-1] + 2 * padding - 2
    offsets = torch.zeros(len(IMAGES), 18, side, side)
    model = nn.Sequential(Calls(lambda m, x: deform_conv2d(x, offsets, WEIGHT, padding=padding)))
    seen(model, passed_over=heard)
    assert heard["0"].startswith("deformable convolution")
    assert leaves_figures_incomplete(heard["0"]) == bool(padding)


def test_functions_whose_names_only_look_like_it_are_no_convolutions() -> None:
    heard: dict[str, str] = {}
    seen(
        Calls(lambda m, x: torch._convert_indices_from_coo_to_csr(torch.arange(3), 3)),
        passed_over=heard,
    )
    assert heard == {}


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
@pytest.mark.parametrize("frozen", [False, True])
def test_convolutions_in_torchscript_are_listed_also_when_frozen(frozen: bool) -> None:
    """A frozen script has no children left, only a graph."""
    script = torch.jit.script(nn.Sequential(conv(padding=1), nn.ReLU()).eval())
    part = torch.jit.freeze(script) if frozen else script
    plain = torch.jit.script(nn.Sequential(nn.ReLU()).eval())
    model = Calls(lambda m, x: m.plain(m.part(x)), part=part, plain=plain)
    found = dict(unseen_convolutions(model, set(names(model))))
    assert list(found) == ["part" if frozen else "part.0"]
    assert "TorchScript" in next(iter(found.values()))


@pytest.mark.filterwarnings("ignore:.*")
def test_a_quantised_convolution_is_listed_called_or_not() -> None:
    quantised = pytest.importorskip("torch.ao.nn.quantized")

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.used(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)).dequantize()

    model = Calls(
        forward, used=quantised.Conv2d(4, 4, 3, padding=1), idle=quantised.Conv2d(4, 4, 3)
    )
    heard: dict[str, str] = {}
    try:
        calls = seen(model, passed_over=heard)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"no quantised kernels here: {error}")
    found = heard | dict(unseen_convolutions(model, set(heard)))
    assert not calls
    assert set(found) == {"used", "idle"}
    assert all("quantised" in why for why in found.values())
