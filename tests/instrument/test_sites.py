"""What a pad is and how much of it is read, against brute force and against PyTorch's own F.pad."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from pytest_pan.instrument.sites import (
    Pad,
    consumed,
    explicit_pad,
    is_uneven,
    own_pad,
    pair,
    reliability,
    why_not,
)
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.sites import Site

sizes = st.integers(1, 12)
amounts = st.tuples(*[st.integers(0, 4)] * 4)


def windows_read(
    size: tuple[int, int],
    pad: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> torch.Tensor:
    """How often each cell of the padded input is read: the gradient of a convolution with ones."""
    top, bottom, left, right = pad
    padded = torch.ones(1, 1, size[0] + top + bottom, size[1] + left + right, requires_grad=True)
    ones = torch.ones(1, 1, *kernel)
    F.conv2d(padded, ones, stride=stride, dilation=dilation).sum().backward()
    assert padded.grad is not None
    return padded.grad[0, 0]


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(size=st.tuples(sizes, sizes), pad=amounts, kernel=pairs, stride=pairs, dilation=pairs)
def test_consumed_padding_reaches_to_the_outermost_line_that_a_window_reads(
    size: Any, pad: Any, kernel: Any, stride: Any, dilation: Any
) -> None:
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    assume(size[0] + pad[0] + pad[1] >= span[0] and size[1] + pad[2] + pad[3] >= span[1])
    read = windows_read(size, pad, kernel, stride, dilation)
    rows, columns = read.sum(1).nonzero().flatten(), read.sum(0).nonzero().flatten()
    expected = (
        max(pad[0] - int(rows[0]), 0),
        max(int(rows[-1]) + 1 - pad[0] - size[0], 0),
        max(pad[2] - int(columns[0]), 0),
        max(int(columns[-1]) + 1 - pad[2] - size[1], 0),
    )
    assert consumed(pad, size, span, stride) == expected


@given(size=st.tuples(sizes, sizes), pad=amounts, kernel=pairs, stride=pairs)
def test_where_windows_leave_no_gaps_every_consumed_line_is_read(
    size: Any, pad: Any, kernel: Any, stride: Any
) -> None:
    assume(stride[0] <= kernel[0] and stride[1] <= kernel[1])
    assume(size[0] >= kernel[0] and size[1] >= kernel[1])
    read = windows_read(size, pad, kernel, stride, (1, 1)) > 0
    rows, columns = read.any(1), read.any(0)
    counts = (
        int(rows[: pad[0]].sum()),
        int(rows[pad[0] + size[0] :].sum()),
        int(columns[: pad[2]].sum()),
        int(columns[pad[2] + size[1] :].sum()),
    )
    assert consumed(pad, size, kernel, stride) == counts


RESNET = [(7, 2, 3), *[(3, 2, 1)] * 4]


@pytest.mark.parametrize(
    ("size", "maps", "first", "then"),
    [(224, [112, 56, 28, 14, 7], (3, 2), (1, 0)), (225, [113, 57, 29, 15, 8], (3, 3), (1, 1))],
)
def test_resnet_consumes_what_mind_the_pad_says(
    size: int, maps: list[int], first: tuple[int, int], then: tuple[int, int]
) -> None:
    """METHODS section 4: 224 is uneven in every strided layer, 225 in none."""
    layers = [nn.Conv2d(1, 1, k, s, p) for k, s, p in RESNET]
    sites = sites_of(nn.Sequential(*layers), torch.zeros(1, 1, size, size))
    assert [site.map for site in sites] == [(m, m) for m in maps]
    assert [site.consumed for site in sites] == [first * 2, *[then * 2] * 4]
    assert [is_uneven(site) for site in sites] == [size == 224] * 5


@given(st.integers(33, 400))
def test_resnet_is_even_only_at_sizes_of_32a_plus_1(size: int) -> None:
    """METHODS section 4, by the recursion over its five strided layers."""
    even, n = True, size
    for k, s, p in RESNET:
        top, bottom, _, _ = consumed((p,) * 4, (n, n), (k, k), (s, s))
        even &= top == bottom
        n = (n + 2 * p - k) // s + 1
    assert even == (size % 32 == 1)


def sites_of(model: nn.Module, images: torch.Tensor) -> list[Site]:
    calls: list[ConvCall] = []
    with torch.no_grad(), tapped(Tap(model, calls.append)):
        model(images)
    return [call.site() for call in calls]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_same_padding_is_what_pytorch_does_with_it(kernel: Any, dilation: Any) -> None:
    """Padding by hand with these amounts gives the convolution that "same" gives."""
    images = torch.rand(1, 1, 9, 11, dtype=torch.float64)
    weight = torch.rand(1, 1, *kernel, dtype=torch.float64)
    top, bottom, left, right = own_pad("same", kernel, dilation).amounts
    by_hand = F.conv2d(F.pad(images, (left, right, top, bottom)), weight, dilation=dilation)
    own = F.conv2d(images, weight, padding="same", dilation=dilation)
    assert torch.allclose(by_hand, own)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", ["same", 1, (2, 1)])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 3)])
def test_a_padding_mode_pads_as_much_as_zeros_do(padding: Any, mode: Any, kernel: Any) -> None:
    images = torch.rand(1, 1, 9, 9)
    (zeros,) = sites_of(nn.Conv2d(1, 1, kernel, padding=padding), images)
    (other,) = sites_of(nn.Conv2d(1, 1, kernel, padding=padding, padding_mode=mode), images)
    assert (other.padding, other.consumed) == (zeros.padding, zeros.consumed)
    assert (other.input, other.map) == (zeros.input, zeros.map)
    assert (zeros.mode, other.mode) == ("zeros", mode)


def test_valid_is_no_padding() -> None:
    assert not own_pad("valid", (3, 3), (1, 1)).visible


MODES = ["zeros", "constant", "reflect", "replicate", "circular"]
signed = st.tuples(*[st.integers(-1, 2)] * 4)


def apply(pad: Pad, images: torch.Tensor) -> torch.Tensor:
    top, bottom, left, right = pad.amounts
    value = pad.value if pad.mode == "constant" else None
    mode = "constant" if pad.mode in ("zeros", "constant") else pad.mode
    return F.pad(images, (left, right, top, bottom), mode, value)


def pads() -> st.SearchStrategy[Pad]:
    def build(mode: str, sides: Any) -> Pad:
        value = 3.0 if mode == "constant" else 0.0
        return Pad(amounts=sides, mode=mode, value=value)

    return st.builds(build, st.sampled_from(MODES), signed)


@given(first=pads(), second=pads())
def test_a_pad_of_a_pad_is_one_pad_only_where_pytorch_agrees(first: Pad, second: Pad) -> None:
    """Where the result has one mode, that one pad of what it pads gives the two pads' picture.

    But for a crop of the very lines that a circular or reflecting pad has copied: that shows in
    the negative amount.
    """
    images = torch.arange(1.0, 82.0).reshape(1, 1, 9, 9)
    once = apply(first, images)
    twice = apply(second, once)
    joined = first.then(second)
    top, bottom, left, right = joined.amounts
    height, width = twice.shape[-2:]
    if "+" in joined.mode:
        assert joined.mode == f"{first.mode}+{second.mode}"
        return
    seen = (height - top - bottom, width - left - right)
    offset = [_cut(a, b) for a, b in zip(first.amounts, second.amounts, strict=True)]
    base = images[:, :, offset[0] : 9 - offset[1], offset[2] : 9 - offset[3]]
    assert tuple(base.shape[-2:]) == seen
    if joined.mode in ("circular", "reflect") and min(joined.amounts) < 0:
        return
    assert torch.equal(apply(joined, base), twice)


def _cut(inner: int, outer: int) -> int:
    """Lines of the image that are gone before the joined pad begins: cropped, then padded."""
    return -inner if inner < 0 < outer else 0


@given(pads(), pads())
def test_modes_are_joined_by_plus_only_where_both_pads_add_something(a: Pad, b: Pad) -> None:
    joined = a.then(b)
    if not (a.visible and b.visible):
        assert "+" not in joined.mode
    elif (a.mode, a.value) != (b.mode, b.value):
        assert joined.mode == f"{a.mode}+{b.mode}"


def test_a_reflection_of_a_reflection_is_no_single_reflection() -> None:
    one = Pad(amounts=(1, 1, 1, 1), mode="reflect")
    images = torch.arange(25.0).reshape(1, 1, 5, 5)
    two = Pad(amounts=(2, 2, 2, 2), mode="reflect")
    assert not torch.equal(apply(one, apply(one, images)), apply(two, images))
    assert one.then(one).mode == "reflect+reflect"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1, 2), (0, 0, 1, 2)),
        ((1, 2, 3, 4), (3, 4, 1, 2)),
        ((1, 2, 3, 4, 0, 0), (3, 4, 1, 2)),
        ((1, 2, 3, 4, 0, 5), (3, 4, 1, 2)),
        ((-1, 2, 0, 0), (0, 0, -1, 2)),
    ],
)
def test_amounts_come_last_dimension_first(given: Any, expected: Any) -> None:
    """The oracle is the size that F.pad gives: rows by top + bottom, columns by left + right."""
    pad = explicit_pad(given, "constant", None)
    assert pad.quad == expected
    rows, columns = F.pad(torch.zeros(1, 1, 5, 5), given).shape[-2:]
    assert (rows, columns) == (5 + sum(expected[:2]), 5 + sum(expected[2:]))


def test_a_pad_of_channels_is_no_spatial_pad() -> None:
    assert (
        explicit_pad((0, 0, 0, 0, 0, 1), "constant", None, dims=4).amounts
        == (0,) * 3 + (1,) + (0,) * 4
    )


@pytest.mark.parametrize(("value", "mode"), [(0, "zeros"), (None, "zeros"), (-0.0, "zeros")])
def test_a_constant_of_zero_is_zeros(value: Any, mode: str) -> None:
    pad = explicit_pad((1, 1), "constant", value)
    assert pad.mode == mode


def test_a_constant_keeps_its_value() -> None:
    pad = explicit_pad((1, 1), "constant", 0.5)
    assert (pad.mode, pad.value) == ("constant", 0.5)


@pytest.mark.parametrize("value", [3, [3], (3,), torch.Size([3]), (3, 3), torch.Size([3, 3])])
def test_one_number_stands_for_both_directions(value: Any) -> None:
    assert pair(value) == (3, 3)


@given(height=st.integers(1, 12), width=st.integers(1, 12))
def test_a_map_is_too_small_when_a_border_has_more_values_than_the_centre(
    height: int, width: int
) -> None:
    values = torch.zeros(height, width)
    longest = max(values[0].numel(), values[:, 0].numel())
    fits = height > 2 and width > 2 and values[1:-1, 1:-1].numel() >= longest
    reason = why_not((3, 3), Pad(amounts=(1, 1, 1, 1), mode="zeros"), (height, width))
    assert fits == (reason == "")
    assert fits or f"{height}x{width}" in reason


def test_maps_up_to_seven_are_of_low_reliability() -> None:
    """METHODS section 1: small maps (up to 7x7) are marked."""
    assert [reliability((n, n)) for n in (6, 7, 8)] == ["low", "low", "normal"]
    assert reliability((7, 40)) == reliability((40, 7)) == "low"


def test_a_pointwise_kernel_and_a_pad_that_only_crops_are_not_examined() -> None:
    visible = Pad(amounts=(1, 0, 0, 0), mode="zeros")
    assert why_not((1, 1), visible, (20, 20)) == "1x1 kernel"
    assert why_not((1, 3), visible, (20, 20)) == ""
    crop = Pad(amounts=(-1, -1, 0, 0), mode="zeros")
    assert why_not((3, 3), crop, (20, 20)) == "no padding"
