"""What the tap sees: every padded convolution, however it came to be padded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.sites import consumed
from pytest_pan.instrument.tap import ConvCall, Tap, tapped, unseen_convolutions


def calls(model: nn.Module, *inputs: Tensor) -> list[ConvCall]:
    """The convolutions of one forward pass."""
    seen: list[ConvCall] = []
    with torch.inference_mode(), tapped(Tap(model, seen.append)) as tap:
        tap.begin()
        model(*inputs)
    return seen


def summary(model: nn.Module, size: int = 9) -> tuple[Any, ...]:
    (call,) = calls(model, torch.rand(1, 4, size, size))
    site = call.site()
    return site.padding, site.mode, site.padded_by


conv = nn.Conv2d


@pytest.mark.parametrize(
    ("model", "padding", "mode", "by"),
    [
        (conv(4, 4, 3, padding=1), (1, 1, 1, 1), "zeros", "conv"),
        (conv(4, 4, (1, 7), padding=(0, 3)), (0, 0, 3, 3), "zeros", "conv"),
        (conv(4, 4, 3, padding="same"), (1, 1, 1, 1), "zeros", "conv"),
        (conv(4, 4, 3, padding="same", dilation=2), (2, 2, 2, 2), "zeros", "conv"),
        (conv(4, 4, 3, padding="valid"), (0, 0, 0, 0), "zeros", ""),
        (conv(4, 4, 3, padding=1, groups=4, stride=2), (1, 1, 1, 1), "zeros", "conv"),
        (conv(4, 4, 3, padding=1, padding_mode="reflect"), (1, 1, 1, 1), "reflect", "pad"),
        (conv(4, 4, 3, padding=1, padding_mode="replicate"), (1, 1, 1, 1), "replicate", "pad"),
        (conv(4, 4, 3, padding=1, padding_mode="circular"), (1, 1, 1, 1), "circular", "pad"),
        (nn.Sequential(nn.ZeroPad2d((0, 1, 2, 3)), conv(4, 4, 3)), (2, 3, 0, 1), "zeros", "pad"),
        (nn.Sequential(nn.ConstantPad2d(1, 5.0), conv(4, 4, 3)), (1, 1, 1, 1), "constant", "pad"),
        (nn.Sequential(nn.ReflectionPad2d(2), conv(4, 4, 3)), (2, 2, 2, 2), "reflect", "pad"),
        (nn.Sequential(nn.ReplicationPad2d(1), conv(4, 4, 3)), (1,) * 4, "replicate", "pad"),
        (nn.Sequential(nn.CircularPad2d(1), conv(4, 4, 3)), (1, 1, 1, 1), "circular", "pad"),
        (
            nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((0, 1, 0, 0)), conv(4, 4, 3)),
            (1, 1, 1, 2),
            "zeros",
            "pad",
        ),
        (
            nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(4, 4, 3, padding=1)),
            (1, 2, 1, 2),
            "zeros",
            "pad+conv",
        ),
        (
            nn.Sequential(nn.ReflectionPad2d(1), conv(4, 4, 3, padding=1)),
            (2, 2, 2, 2),
            "reflect+zeros",
            "pad+conv",
        ),
        (nn.Sequential(nn.ZeroPad2d(1), nn.ReLU(), conv(4, 4, 3)), (0,) * 4, "zeros", ""),
        (parametrizations.weight_norm(conv(4, 4, 3, padding=1)), (1,) * 4, "zeros", "conv"),
    ],
    ids=str,
)
def test_padding_is_known_however_it_came_about(
    model: nn.Module, padding: tuple[int, ...], mode: str, by: str
) -> None:
    assert summary(model.eval()) == (padding, mode, by)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_is_laid_as_torch_lays_it(kernel: int, dilation: int) -> None:
    """The output of the explicit padding we report is the output of ``padding="same"``."""
    layer = conv(1, 1, kernel, padding="same", dilation=dilation, bias=False)
    image = torch.rand(1, 1, 17, 17)
    (call,) = calls(layer, image)
    top, bottom, left, right = call.pad.amounts
    by_hand = F.conv2d(F.pad(image, (left, right, top, bottom)), layer.weight, dilation=dilation)
    torch.testing.assert_close(call.output, by_hand)


class Twice(nn.Module):
    """One module called twice, and two functional calls of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = conv(2, 2, 3, padding=1)
        self.filters = nn.Parameter(torch.rand(2, 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(x))
        x = F.conv2d(x, self.filters, padding=1)
        return torch.conv2d(F.pad(x, (1, 1, 1, 1)), self.filters)


def test_a_site_is_the_calling_module_and_the_number_of_the_call() -> None:
    model = nn.Sequential(Twice(), conv(2, 1, 3, padding=1))
    seen: list[str] = []
    with torch.no_grad(), tapped(Tap(model, lambda call: seen.append(call.name))) as tap:
        for _ in range(2):
            tap.begin()
            model(torch.rand(1, 2, 8, 8))
    assert seen == ["0.shared", "0.shared#2", "0", "0#2", "1"] * 2
    assert [c.name for c in calls(Twice(), torch.rand(1, 2, 8, 8))][2:] == ["(model)", "(model)#2"]


def test_a_module_that_raises_and_is_caught_leaves_the_names_right() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad, self.good = nn.Linear(3, 3), conv(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            with pytest.raises(RuntimeError):
                self.bad(x)
            return F.conv2d(self.good(x), self.good.weight, padding=1)

    assert [c.name for c in calls(Careful(), torch.rand(1, 1, 8, 8))] == ["good", "(model)"]


def test_what_see_returns_takes_the_outputs_place_and_none_leaves_it() -> None:
    layer, image = conv(1, 1, 3, padding=1), torch.rand(1, 1, 6, 6)
    plain = layer(image)
    with tapped(Tap(layer, lambda call: None)) as tap:
        tap.begin()
        assert torch.equal(layer(image), plain)
    with tapped(Tap(layer, lambda call: call.output * 0)) as tap:
        tap.begin()
        assert layer(image).abs().sum() == 0


def test_convolutions_of_another_kind_are_passed_over_with_the_reason() -> None:
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 1, 3, padding=1), nn.Flatten(1), nn.Unflatten(1, (1, -1))
    )
    heard: dict[str, str] = {}
    with tapped(Tap(model, lambda call: None, heard.__setitem__)) as tap:
        tap.begin()
        nn.Sequential(model, nn.Conv1d(1, 1, 3, padding=1))(torch.rand(1, 1, 6, 6))
    assert "transposed" in heard["0"]
    assert any("conv1d" in why for why in heard.values())


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_modules_that_no_call_came_from_are_listed() -> None:
    class Forgets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = conv(1, 1, 3), conv(1, 1, 3, padding=1)
            self.scripted = torch.jit.script(nn.Sequential(conv(1, 1, 3, padding=1)))

        def forward(self, x: Tensor) -> Tensor:
            return self.scripted(self.used(x))

    model = Forgets()
    seen = {call.name for call in calls(model, torch.rand(1, 1, 9, 9))}
    reasons = dict(unseen_convolutions(model, seen))
    assert reasons["unused"] == "never called"
    assert "TorchScript" in reasons["scripted.0"]
    assert "used" not in reasons


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_in_torch_or_in_the_model(fails: bool) -> None:
    from torch.nn.modules import module as registry

    model = nn.Sequential(conv(1, 1, 3, padding=1), nn.Linear(5 if fails else 6, 1))
    before = len(registry._global_forward_hooks), len(registry._global_forward_pre_hooks)
    try:
        calls(model, torch.rand(1, 1, 6, 6))
    except RuntimeError:
        assert fails
    assert (len(registry._global_forward_hooks), len(registry._global_forward_pre_hooks)) == before
    assert not torch.overrides._get_current_function_mode_stack()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


padded = st.tuples(*[st.integers(0, 4)] * 4)


@given(
    pad=padded,
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
@settings(max_examples=300, deadline=None)
def test_consumed_padding_is_what_windows_reach(
    pad: Any, size: Any, kernel: Any, stride: Any, dilation: Any
) -> None:
    """Brute force: lay every window and mark the span it covers."""
    expected: list[int] = []
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    for axis in (0, 1):
        first, last = pad[2 * axis], pad[2 * axis + 1]
        length = first + size[axis] + last
        if length < spans[axis]:
            return
        reached = np.zeros(length, bool)
        for start in range(0, length - spans[axis] + 1, stride[axis]):
            reached[start : start + spans[axis]] = True
        end = int(np.flatnonzero(reached)[-1]) + 1
        expected += [first, max(end - first - size[axis], 0)]
    assert list(consumed(pad, size, spans, stride)) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(224, [(3, 2)] + [(1, 0)] * 4), (225, [(3, 3)] + [(1, 1)] * 4)]
)
def test_a_resnet_consumes_its_padding_as_published(
    size: int, expected: list[tuple[int, int]]
) -> None:
    """Mind the Pad: uneven at 224 in every downsampling layer, even at 225."""
    layers = [conv(1, 1, 7, 2, 3)] + [conv(1, 1, 3, 2, 1) for _ in range(4)]
    sites = [call.site() for call in calls(nn.Sequential(*layers), torch.rand(1, 1, size, size))]
    assert [site.consumed[:2] for site in sites] == expected
    assert [site.consumed[2:] for site in sites] == expected


def samples(model: nn.Module, images: Tensor, batch: int) -> Samples:
    kept: list[Samples] = []

    def see(call: ConvCall) -> None:
        if not kept:
            kept.append(Samples(call.site()))
        kept[0].add(call.output)

    with torch.inference_mode(), tapped(Tap(model, see)) as tap:
        for part in images.split(batch):
            tap.begin()
            model(part)
    return kept[0]


def test_an_in_place_relu_behind_the_convolution_does_not_reach_the_samples() -> None:
    images = torch.rand(3, 1, 8, 8)
    layer = conv(1, 4, 3, padding=1)
    kept = samples(nn.Sequential(layer, nn.ReLU(inplace=True)), images, 3)
    with torch.no_grad():
        assert torch.equal(torch.cat(kept.maps), layer(images))
    assert kept.centre().min() < 0


def test_regions_are_the_outermost_lines_with_shared_corners_and_the_rest() -> None:
    kept = Samples(calls(conv(1, 2, 3, padding=1), torch.rand(1, 1, 4, 5))[0].site())
    maps = torch.arange(2 * 2 * 4 * 5).reshape(2, 2, 4, 5).float()
    kept.add(maps[:1])
    kept.add(maps[1:])
    top, bottom, left, right = (border.tolist() for border in kept.borders())
    assert top[0] == [0, 1, 2, 3, 4, 40, 41, 42, 43, 44]
    assert bottom[1] == [35, 36, 37, 38, 39, 75, 76, 77, 78, 79]
    assert left[0] == [0, 5, 10, 15, 40, 45, 50, 55]
    assert right[0] == [4, 9, 14, 19, 44, 49, 54, 59]
    assert kept.centre()[0].tolist() == [6, 7, 8, 11, 12, 13, 46, 47, 48, 51, 52, 53]
    assert kept.line("B", 1)[0].tolist() == [10, 11, 12, 13, 14, 50, 51, 52, 53, 54]
    assert kept.centre(torch.tensor([1])).tolist() == kept.centre()[1:].tolist()


def test_merged_samples_are_those_of_all_images_at_once() -> None:
    layer, images = conv(1, 3, 3, padding=1), torch.rand(5, 1, 7, 7)
    whole, first, second = (samples(layer, part, 5) for part in (images, images[:2], images[2:]))
    first.merge(second)
    assert first.images == 5
    torch.testing.assert_close(first.centre(), whole.centre())
    for a, b in zip(first.borders(), whole.borders(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "forward",
    [
        lambda layer, x: layer(x[0]),
        lambda layer, x: torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False),
    ],
    ids=["without a batch", "checkpointed"],
)
def test_unusual_calls_are_seen_too(forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
    layer = conv(1, 2, 3, padding=1)
    seen: list[ConvCall] = []
    with torch.no_grad(), tapped(Tap(layer, seen.append)) as tap:
        tap.begin()
        forward(layer, torch.rand(1, 1, 6, 6))
    (call,) = seen
    assert call.site().map == (6, 6)
    assert Samples(call.site()).add(call.output) == 2 * 36 * 4


def test_under_autocast_the_reduced_output_is_seen() -> None:
    layer = conv(1, 2, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        (call,) = calls(layer, torch.rand(1, 1, 6, 6))
    assert call.output.dtype == torch.bfloat16
