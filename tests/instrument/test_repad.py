"""Repadding is a convolution of the map padded that way, in every combination."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_pan.instrument.repad import NotSwappableError, repad, swappable
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.plans import MODES

NUMPY = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}


def call_of(model: nn.Module, image: Tensor) -> ConvCall:
    seen: list[ConvCall] = []
    with torch.no_grad(), tapped(Tap(model, seen.append)) as tap:
        tap.begin()
        model(image)
    return seen[-1]


def swapped(call: ConvCall, *arguments: Any) -> Tensor:
    with torch.no_grad():
        return repad(call, *arguments)


def padded(image: Tensor, amounts: Any, mode: str) -> Tensor:
    """The whole map padded by numpy; amounts T, B, L, R."""
    top, bottom, left, right = amounts
    width = ((0, 0), (0, 0), (top, bottom), (left, right))
    if mode in NUMPY:
        return torch.from_numpy(np.pad(image.numpy(), width, mode=NUMPY[mode]))
    filled = torch.from_numpy(np.pad(image.numpy(), width))
    if mode == "mean":
        outside = torch.from_numpy(np.pad(np.ones_like(image), width)) == 0
        mean = image.mean((2, 3), keepdim=True).expand_as(filled)
        filled[outside] = mean[outside]
    return filled


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor, Any, list[int]]:
    """A padded convolution, an image, its padding T B L R, and some of its channels."""
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    out = groups * draw(st.integers(1, 2))
    options = {
        "kernel_size": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "dilation": draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    own = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    explicit = draw(st.tuples(*[st.integers(0, 2)] * 4))
    layer = nn.Conv2d(4, out, padding=own, **options)
    model = nn.Sequential(nn.ZeroPad2d(explicit), layer) if any(explicit) else layer
    size = draw(st.tuples(st.integers(9, 12), st.integers(9, 12)))
    left, right, top, bottom = explicit
    amounts = (top + own[0], bottom + own[0], left + own[1], right + own[1])
    channels = draw(st.lists(st.integers(0, out - 1), min_size=1, unique=True))
    torch.manual_seed(draw(st.integers(0, 100)))
    return model, torch.randn(2, 4, *size), amounts, channels


@given(convolutions(), st.sampled_from([*NUMPY, "mean", "zeros"]), st.booleans())
@settings(max_examples=250, deadline=None)
def test_chosen_channels_are_a_convolution_with_that_padding_and_the_rest_stays(
    drawn: Any, mode: str, every: bool
) -> None:
    model, image, amounts, channels = drawn
    layer = model[-1] if isinstance(model, nn.Sequential) else model
    call = call_of(model, image)
    before = call.output.clone()
    ours = swapped(call, None if every else torch.tensor(channels), mode)
    with torch.no_grad():
        theirs = F.conv2d(
            padded(image, amounts, mode),
            layer.weight,
            layer.bias,
            layer.stride,
            0,
            layer.dilation,
            layer.groups,
        )
    chosen = list(range(len(theirs[0]))) if every else channels
    rest = [channel for channel in range(len(theirs[0])) if channel not in chosen]
    torch.testing.assert_close(ours[:, chosen], theirs[:, chosen], atol=1e-5, rtol=1e-5)
    assert torch.equal(ours[:, rest], before[:, rest])


@given(convolutions())
@settings(max_examples=60, deadline=None)
def test_the_identity_swap_changes_nothing_bit_for_bit(drawn: Any) -> None:
    model, image, _, channels = drawn
    call = call_of(model, image)
    before = call.output.clone()
    assert torch.equal(swapped(call, torch.tensor(channels), "zeros"), before)


@given(convolutions())
@settings(max_examples=100, deadline=None)
def test_partial_convolution_scales_by_kernel_cells_over_cells_inside(drawn: Any) -> None:
    """Oracle: the same convolution of a mask of ones counts the cells inside."""
    model, image, amounts, _ = drawn
    layer = model[-1] if isinstance(model, nn.Sequential) else model
    ours = swapped(call_of(model, image), None, "partial")
    shared = (layer.stride, 0, layer.dilation)
    with torch.no_grad():
        zeros = padded(image, amounts, "zeros")
        plain = F.conv2d(zeros, layer.weight, None, *shared, layer.groups)
        mask = padded(torch.ones(1, 1, *image.shape[2:]), amounts, "zeros")
        inside = F.conv2d(mask, torch.ones(1, 1, *layer.kernel_size), None, *shared)
        cells = layer.kernel_size[0] * layer.kernel_size[1]
        theirs = torch.where(inside > 0, plain * cells / inside.clamp(min=1), 0)
        if layer.bias is not None:
            theirs = theirs + layer.bias[:, None, None]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_noise_has_the_maps_own_mean_and_deviation_and_follows_its_generator() -> None:
    """A filter that passes on the row above shows the padding itself in its first row."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[0, 0, 0, 1] = 1
    image = 5 + 2 * torch.randn(400, 1, 8, 8)

    def first_row(seed: int) -> Tensor:
        found = swapped(call_of(layer, image), None, "noise", torch.Generator().manual_seed(seed))
        return found[:, 0, 0]

    drawn = first_row(0)
    assert abs(float(drawn.mean()) - 5) < 0.2
    assert abs(float(drawn.std()) - 2) < 0.2
    assert torch.equal(drawn, first_row(0))
    assert not torch.equal(drawn, first_row(1))


def test_a_reflect_padded_convolution_can_be_given_zeros() -> None:
    layer = nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")
    image = torch.randn(1, 1, 6, 6)
    with torch.no_grad():
        expected = F.conv2d(image, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(swapped(call_of(layer, image), None, "zeros"), expected)


@pytest.mark.parametrize(
    ("mode", "size", "why"),
    [
        ("reflect", 3, "reflect padding 3 needs a map larger than 3, got 3x3"),
        ("reflect", 4, ""),
        ("symmetric", 2, "symmetric padding 3 needs a map of at least 3, got 2x2"),
        ("symmetric", 3, ""),
        ("circular", 2, "circular padding 3 needs a map of at least 3, got 2x2"),
        ("replicate", 1, ""),
    ],
)
def test_a_map_too_small_for_the_mode_is_said_and_left_alone(
    mode: str, size: int, why: str
) -> None:
    call = call_of(nn.Conv2d(1, 1, 7, padding=3), torch.randn(1, 1, size, size))
    before = call.output.clone()
    assert swappable(call, mode) == why
    if why:
        with pytest.raises(NotSwappableError, match="needs a map"):
            swapped(call, None, mode)
        assert torch.equal(call.output, before)


def test_a_pad_that_crops_cannot_be_swapped_and_an_unknown_mode_is_refused() -> None:
    model = nn.Sequential(nn.ZeroPad2d((1, -1, 1, 1)), nn.Conv2d(1, 1, 3))
    call = call_of(model, torch.randn(1, 1, 6, 6))
    assert swappable(call, "reflect") == "a pad before it crops the map"
    with pytest.raises(ValueError, match="padding mode 'mirror'; allowed: reflect, symmetric"):
        swapped(call, None, "mirror")


@pytest.mark.parametrize("mode", MODES)
def test_reduced_precision_stays_reduced_and_close(mode: str) -> None:
    layer, image = nn.Conv2d(4, 4, 3, padding=1), torch.randn(2, 4, 8, 8)
    generator = (torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
    exact = swapped(call_of(layer, image), None, mode, generator[0])
    reduced = swapped(call_of(layer.bfloat16(), image.bfloat16()), None, mode, generator[1])
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), exact, atol=0.1, rtol=0.1)


def test_without_a_batch_it_is_the_same() -> None:
    layer, image = nn.Conv2d(2, 3, 3, padding=1), torch.randn(2, 6, 6)
    alone = swapped(call_of(layer, image), None, "reflect")
    torch.testing.assert_close(alone, swapped(call_of(layer, image[None]), None, "reflect")[0])


def test_gradients_flow_through_a_repadded_convolution() -> None:
    """So that a repadded model can be fine-tuned: the gradient is the padded convolution's."""
    layer, image = nn.Conv2d(1, 2, 3, padding=1), torch.randn(1, 1, 6, 6)
    with tapped(Tap(layer, lambda call: repad(call, None, "reflect"))) as tap:
        tap.begin()
        layer(image).square().sum().backward()
    ours, layer.weight.grad = layer.weight.grad, None
    plain = F.pad(image, (1, 1, 1, 1), mode="reflect")
    F.conv2d(plain, layer.weight, layer.bias).square().sum().backward()
    torch.testing.assert_close(ours, layer.weight.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 4, 16, 32])
@pytest.mark.parametrize("chosen", [1, 5, 16, 31, 32])
def test_swapping_some_channels_multiplies_no_more_than_the_strips_of_the_whole_layer(
    groups: int, chosen: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 32, 3, padding=1, groups=groups)
    call = call_of(layer, torch.randn(2, 32, 12, 12))

    def multiplications(channels: Tensor | None) -> int:
        with FlopCounterMode(display=False) as counter:
            swapped(call, channels, "reflect")
        return int(counter.get_total_flops())

    bare = 2 * 2 * 12 * 12 * 32 * 9 * 32 // groups
    some, every = multiplications(torch.randperm(32)[:chosen]), multiplications(None)
    assert 0 < some <= every <= bare
