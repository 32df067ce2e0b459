"""What a PyTorch engineer would try in order to get a convolution past the tap, or a wrong name."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from pytest_pan.instrument.gate import borrowed
from pytest_pan.instrument.tap import ConvCall, Tap, tapped, unseen_convolutions

IMAGES = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.rand(4, 4, 3, 3, generator=torch.Generator().manual_seed(1))


class Calls(nn.Module):
    """A model whose forward pass is the function; its children are those given."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def conv(**settings: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, settings.pop("kernel", 3), **settings)


def seen(
    model: nn.Module, images: Tensor = IMAGES, passed_over: dict[str, str] | None = None
) -> list[ConvCall]:
    """The convolutions of one forward pass through the gate."""
    calls: list[ConvCall] = []
    heard = {} if passed_over is None else passed_over
    with borrowed(model, seed=0), tapped(Tap(model, calls.append, heard.__setitem__)) as tap:
        tap.begin()
        model(images)
    return calls


def names(model: nn.Module, images: Tensor = IMAGES) -> list[str]:
    return [call.name for call in seen(model, images)]


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
        return m.a(padded) + m.b(padded) + m.c(x).mean() + m.d(F.relu(padded)).mean()

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
    ],
)
def test_every_spelling_of_conv2d_is_a_site_of_the_module_it_stands_in(
    function: Callable[[Tensor], Tensor],
) -> None:
    model = nn.Sequential(Calls(lambda m, x: function(function(x))))
    calls = seen(model)
    assert [call.name for call in calls] == ["0", "0#2"]
    assert {call.site().padding for call in calls} == {(1, 1, 1, 1)}


def test_an_exported_program_is_seen() -> None:
    """torch.export calls operators, not modules."""
    program = torch.export.export(nn.Sequential(conv(padding=1), conv(padding=2)), (IMAGES,))
    assert [call.site().padding[0] for call in seen(program.module())] == [1, 2]


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
        (lambda x: torch.convolution(x, WEIGHT, None, [1], [1], [1], False, [0], 1), "convolution"),
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


def test_a_deformable_convolution_is_said() -> None:
    from torchvision.ops import deform_conv2d

    heard: dict[str, str] = {}
    offsets = torch.zeros(2, 18, 9, 9)
    model = nn.Sequential(Calls(lambda m, x: deform_conv2d(x, offsets, WEIGHT, padding=1)))
    seen(model, passed_over=heard)
    assert "deform_conv2d" in heard["0"]


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
