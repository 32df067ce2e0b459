"""Padding is followed from where it is made to the convolution that reads it.

Longer than 350 lines: a list of ways to pad, a few lines each.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seam import WEIGHT, Calls, conv, seen
from torch import Tensor, nn

from pytest_pan.instrument.sites import UNCLEAR, leaves_figures_incomplete, why_not
from pytest_pan.instrument.tap import ConvCall

Function = Callable[[Tensor], Tensor]
ALL = (1, 1, 1, 1)


def padded(x: Tensor, value: float = 0.0) -> Tensor:
    return F.pad(x, (1, 1, 1, 1), value=value)


def call_after(function: Function, **settings: Any) -> ConvCall:
    """The convolution behind a function of the images."""
    return seen(Calls(lambda m, x: m.c(function(x)), c=conv(**settings)))[-1]


NORM = nn.BatchNorm2d(4).eval()
POINTWISE: list[Function] = [
    F.relu,
    nn.ReLU(inplace=True),
    torch.relu_,
    F.gelu,
    nn.SiLU(),
    nn.Hardswish(inplace=True),
    nn.PReLU(),
    F.leaky_relu,
    F.hardtanh,
    torch.tanh,
    nn.Dropout2d(),
    lambda p: F.dropout(p, 0.5, training=False),
    lambda p: p * 3,
    lambda p: 2 * p / 4,
    lambda p: p.mul_(2),
    lambda p: -p,
    lambda p: p + p,
    lambda p: p * torch.rand(1, 4, 1, 1),
    lambda p: p.clamp(min=0, max=6),
    lambda p: p.abs().sqrt(),
    lambda p: p.half().float(),
    lambda p: p.data,
    lambda p: torch.empty_like(p).copy_(p),
    lambda p: torch.ops.aten.relu.default(p),
    lambda p: p.contiguous(memory_format=torch.channels_last).relu(),
    lambda p: torch.where(p > 0, p, p * 0.1),
    lambda p: F.conv2d(p, torch.rand(4, 4, 1, 1)),
    lambda p: p.reshape(1, 8, 11, 11).view(2, 4, 11, 11),
    lambda p: p.flatten(0, 1).unflatten(0, (2, 4)),
    lambda p: p.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2),
    lambda p: p.transpose(2, 3),
    lambda p: p.view(2, 2, 2, 11, 11).transpose(1, 2).reshape(2, 4, 11, 11),
    lambda p: torch.cat(p.chunk(2, dim=1), 1),
    lambda p: torch.cat([p[:, :2], p[:, 2:].relu()], 1),
    lambda p: torch.flip(p, (2, 3)),
    lambda p: p[:, torch.tensor([3, 2, 1, 0])],
    lambda p: F.pad(p, (2, 2, 2, 2))[:, :, 2:-2, 2:-2],
]


@pytest.mark.parametrize("function", POINTWISE)
def test_zeros_that_stay_zeros_stay_the_same_padding(function: Function) -> None:
    site = call_after(lambda x: function(padded(x))).site()
    assert (site.padding, site.mode, site.padded_by) == (ALL, "zeros", "pad")
    assert site.input == (9, 9)


@pytest.mark.parametrize(
    "function",
    [
        torch.sigmoid,
        lambda p: p + 1,
        lambda p: 1 - p,
        lambda p: p.exp_(),
        nn.BatchNorm2d(4, eps=1).eval().requires_grad_(False),
        nn.Softplus(),
        lambda p: p + torch.ones(1, 4, 1, 1),
        lambda p: p.clamp(0.5),
        lambda p: F.conv2d(p, torch.rand(4, 4, 1, 1), torch.ones(4)),
    ],
)
def test_zeros_that_become_another_value_are_a_constant(function: Function) -> None:
    if isinstance(function, nn.BatchNorm2d):
        function.running_mean.fill_(1)
    site = call_after(lambda x: function(padded(x))).site()
    assert (site.padding, site.mode) == (ALL, "constant")


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_copies_stay_copies_of_their_mode(mode: str) -> None:
    site = call_after(lambda x: (F.pad(x, ALL, mode=mode) + 1).relu()).site()
    assert (site.padding, site.mode) == (ALL, mode)


@pytest.mark.parametrize(
    ("crop", "padding"),
    [
        (lambda p: p[:, :, 1:], (0, 1, 1, 1)),
        (lambda p: p[..., :-1], (1, 1, 1, 0)),
        (lambda p: p[:, :, 1:-1, 1:-1], (0, 0, 0, 0)),
        (lambda p: p[:, :, 3:], (0, 1, 1, 1)),
        (lambda p: p.narrow(2, 0, 8), (1, 0, 1, 1)),
        (lambda p: torch.narrow(p, 3, 1, 10), (1, 1, 0, 1)),
        (lambda p: F.pad(p, (-1, 0, 0, 0)), (1, 1, 0, 1)),
        (lambda p: p[:, :, ::2], (1, 1, 1, 1)),
        (lambda p: p[:, :, 1::2, 1::2], (0, 0, 0, 0)),
        (lambda p: p.split(6, dim=2)[0], (1, 0, 1, 1)),
        (lambda p: p.chunk(2, 3)[1], (1, 1, 0, 1)),
        (lambda p: p[0], (1, 1, 1, 1)),
        (lambda p: p.index_select(2, torch.arange(1, 11)), (0, 1, 1, 1)),
        (lambda p: torch.ops.aten.slice.Tensor(p, 2, 1, 11), (0, 1, 1, 1)),
        (lambda p: F.pad(p[:, :, :-2], (0, 0, 1, 0)), (2, 0, 1, 1)),
        (lambda p: p.roll(1, 2), (2, 0, 1, 1)),
        (
            lambda p: F.pixel_unshuffle(F.pad(p[:, :, 1:9, 1:9], (2, 2, 2, 2)), 2)[:, :4],
            (1, 1, 1, 1),
        ),
    ],
)
def test_what_a_crop_leaves_on_each_side_counts(crop: Function, padding: tuple[int, ...]) -> None:
    call = call_after(lambda x: crop(padded(x)))
    assert call.site().padding == padding
    assert bool(why_not((3, 3), call.pad, (20, 20))) == (not any(padding))


def buffer(x: Tensor, value: float = 0.0, size: int = 11) -> Tensor:
    return torch.full((len(x), 4, size, size), value)


def assigned(x: Tensor, canvas: Tensor) -> Tensor:
    canvas[:, :, 1:10, 1:10] = x
    return canvas


def image_by_image(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 11)
    for place, image in enumerate(x):
        canvas[place, :, 1:-1, 1:-1] = image
    return canvas


def added(x: Tensor) -> Tensor:
    canvas = x.new_zeros(2, 4, 11, 11)
    canvas[..., 1:-1, 1:-1] += x
    return canvas


def copied(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 11).to(memory_format=torch.channels_last)
    canvas[:, :, 1:-1, 1:-1].copy_(x)
    return canvas


def scattered(x: Tensor) -> Tensor:
    rows = torch.slice_scatter(torch.zeros(2, 4, 9, 11), x, 3, 1, 10)
    return torch.slice_scatter(torch.zeros(2, 4, 11, 11), rows, 2, 1, 10)


def image_by_image_through_views(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 11)
    canvas[0, :4, 1:10, 1:10].copy_(x[0])
    one = canvas[1]
    one[:, 1:10, 1:10] = x[1]
    return canvas


def out_of_a_function(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 11)
    torch.mul(x, 2, out=canvas[:, :, 1:-1, 1:-1])
    return canvas


def multiplied(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 11)
    canvas[:, :, 1:-1, 1:-1].add_(1).mul_(x)
    return canvas


def channels_last(x: Tensor) -> Tensor:
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("pad", "mode"),
    [
        (lambda x: assigned(x, buffer(x)), "zeros"),
        (lambda x: assigned(x, buffer(x)).relu(), "zeros"),
        (lambda x: assigned(x, buffer(x, 0.5)), "constant"),
        (image_by_image, "zeros"),
        (added, "zeros"),
        (copied, "zeros"),
        (image_by_image_through_views, "zeros"),
        (out_of_a_function, "zeros"),
        (multiplied, "zeros"),
        (scattered, "zeros"),
        (channels_last, "zeros"),
        (
            lambda x: torch.cat(
                [
                    torch.zeros(2, 4, 11, 1),
                    torch.concat([torch.zeros(2, 4, 1, 9), x, torch.zeros(2, 4, 1, 9)], dim=-2),
                    x.new_zeros(2, 4, 11, 1),
                ],
                3,
            ),
            "zeros",
        ),
        (
            lambda x: F.pad(
                torch.cat([torch.full((2, 4, 1, 9), 2.0), x], dim=2), (1, 1, 0, 1), value=2.0
            ),
            "constant",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("<>"),
)
def test_constant_pieces_and_buffers_around_a_map_are_pads(pad: Function, mode: str) -> None:
    site = call_after(pad).site()
    assert (site.padding, site.input, site.padded_by) == (ALL, (9, 9), "pad")
    assert site.mode.split("+")[0] == mode


def test_a_piece_in_front_only_pads_that_side() -> None:
    assert call_after(lambda x: torch.cat([x[:, :, :1] * 0, x], 2)).site().padding == (1, 0, 0, 0)


def reversed_rows(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 11, 9)
    canvas[:, :, 1:-1], canvas[:, :, 0], canvas[:, :, -1] = x, x[:, :, 0], x[:, :, -1]
    return canvas


def by_rows_and_columns(x: Tensor) -> Tensor:
    canvas, inside = torch.zeros(2, 4, 11, 11), torch.arange(1, 10)
    canvas[:, :, inside[:, None], inside] = x
    return canvas


def in_another_shape(x: Tensor) -> Tensor:
    canvas = torch.zeros(2, 4, 121)
    canvas.view(2, 4, 11, 11)[:, :, 1:-1, 1:-1] = x
    return canvas.view(2, 4, 11, 11)


def in_numpy(x: Tensor) -> Tensor:
    return torch.as_tensor(np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1))))


def in_another_thread(x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(padded, x).result()


def out_of_sight(x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        return padded(x)


def scripted(x: Tensor) -> Tensor:
    with pytest.warns(FutureWarning, match="deprecated"):
        return torch.jit.script(nn.ZeroPad2d(1))(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: padded(x).cumsum(2),
        lambda x: F.avg_pool2d(padded(x), 3, 1, 1),
        lambda x: F.max_pool2d(padded(x), 3, 1, padding=1),
        lambda x: F.interpolate(padded(x), scale_factor=2),
        lambda x: padded(x).roll(3, 2),
        lambda x: padded(x).cumsum(2).relu()[:, :, 1:] * 2,
        lambda x: torch.stack([padded(x), padded(x)]).mean(0),
        lambda x: torch.cat([padded(x), torch.rand(2, 4, 11, 11)], 1)[:, 2:6],
        lambda x: torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2),
        lambda x: torch.cat([x.flip(3), x], 3),
        lambda x: x[:, :, torch.tensor([1, *range(9), 7])],
        lambda x: x.index_select(3, torch.tensor([0, *range(9), 8])),
        reversed_rows,
        by_rows_and_columns,
        in_another_shape,
        lambda x: torch.zeros(2, 4, 11, 9).index_copy_(2, torch.arange(1, 10), x),
        lambda x: torch.einsum("ih,nchw->nciw", torch.eye(11, 9), x),
        lambda x: F.grid_sample(x, torch.rand(2, 9, 9, 2) * 3, align_corners=False),
        lambda x: torch.fft.ifft2(torch.fft.fft2(x, s=(11, 11))).real,
        lambda x: F.pixel_unshuffle(padded(x)[:, :, 1:, 1:], 2)[:, :4],
        lambda x: torch.vmap(padded)(x),
        in_numpy,
        in_another_thread,
        out_of_sight,
        scripted,
    ],
)
def test_padding_that_cannot_be_followed_is_said_and_limits_do_not_pass(function: Function) -> None:
    call = call_after(function)
    reason = why_not(call.kernel, call.pad, call.map)
    assert reason == UNCLEAR == "padded, cannot tell how much"
    assert leaves_figures_incomplete(reason)
    examined = call_after(function, padding=1)
    assert examined.site().padding == ALL
    assert not why_not(examined.kernel, examined.pad, examined.map)


def in_parts(x: Tensor) -> Tensor:
    out = torch.empty(2, 4, 9, 9)
    for place, image in enumerate(x):
        out[place] = image * 2
    return out


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.max_pool2d(padded(x), 2),
        lambda x: F.conv2d(padded(x), WEIGHT),
        lambda x: torch.zeros_like(padded(x)) + padded(x).mean(),
        lambda x: x * padded(x).shape[0],
        lambda x: x.repeat(1, 1, 1, 1),
        lambda x: torch.cat([x, x.flip(2)], 1)[:, 2:6],
        lambda x: x.clone()[:, :, 1:],
        lambda x: x.flip(2).roll(1, 3),
        in_parts,
        lambda x: F.conv2d(x, WEIGHT[..., :1, :1]),
        lambda x: list(x)[1],
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.conv_transpose2d(x, WEIGHT),
        lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    ],
)
def test_what_is_not_padded_is_not_said_to_be(function: Function) -> None:
    calls = seen(Calls(lambda m, x: m.c(function(x)), c=conv()))
    assert why_not(calls[-1].kernel, calls[-1].pad, calls[-1].map) == "no padding"


def test_a_map_that_the_model_holds_is_not_padded() -> None:
    model = Calls(lambda m, x: m.c(m.held), c=conv())
    model.register_buffer("held", torch.rand(2, 4, 9, 9))
    (call,) = seen(model)
    assert why_not(call.kernel, call.pad, call.map) == "no padding"


def test_a_map_whose_inner_part_is_replaced_is_not_padded() -> None:
    def replace_centre(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, 1:-1, 1:-1] = x[:, :, 1:-1, 1:-1] * 2
        return x

    call = call_after(replace_centre)
    assert why_not(call.kernel, call.pad, call.map) == "no padding"


def listed(model: nn.Module) -> dict[str, str]:
    heard: dict[str, str] = {}
    seen(model, passed_over=heard)
    return heard


@pytest.mark.parametrize(
    "unfold",
    [
        nn.Unfold(3, padding=1),
        Calls(lambda m, x: F.unfold(x, 3, 1, 1)),
        Calls(lambda m, x: torch.nn.functional.unfold(x, kernel_size=3, padding=(0, 1))),
        Calls(lambda m, x: F.unfold(padded(x), 3)),
        Calls(lambda m, x: torch.ops.aten.im2col(x, [3, 3], [1, 1], [1, 1], [1, 1])),
        Calls(lambda m, x: padded(x).relu().unfold(2, 3, 1).unfold(3, 3, 1)),
    ],
)
def test_an_unfold_with_padding_is_listed_and_limits_do_not_pass(unfold: nn.Module) -> None:
    heard = listed(nn.Sequential(unfold))
    assert list(heard) == ["0 (unfold)"]
    assert "im2col" in heard["0 (unfold)"]
    assert leaves_figures_incomplete(heard["0 (unfold)"])


@pytest.mark.parametrize("unfold", [nn.Unfold(3), Calls(lambda m, x: x.unfold(2, 3, 1))])
def test_an_unfold_without_padding_is_not(unfold: nn.Module) -> None:
    assert listed(nn.Sequential(unfold)) == {}


def attention(x: Tensor) -> Tensor:
    tokens = F.linear(x.flatten(2).mT, torch.randn(12, 4))
    query, key, value = tokens.split(4, 2)
    mixed = (query @ key.mT).softmax(-1) @ value
    return mixed.mT.reshape_as(x)


@pytest.mark.parametrize(
    "function",
    [attention, lambda x: F.linear(F.linear(x, torch.randn(18, 9)), torch.randn(9, 18))],
)
def test_products_with_dense_matrices_pad_nothing(function: Function) -> None:
    """They may enlarge a map, as attention and linear layers do."""
    heard: dict[str, str] = {}
    model = Calls(lambda m, x: F.conv2d(function(x), WEIGHT))
    assert not seen(model, passed_over=heard)[0].pad.is_unclear
