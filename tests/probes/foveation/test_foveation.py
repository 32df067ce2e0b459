"""Counts of paths against the literature's table, brute force and published networks."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from nets import bright_images
from torch import Tensor, nn
from torchvision import models

from pytest_pan import audit
from pytest_pan.instrument.paths import axis_stride, pixel_counts
from pytest_pan.probes.foveation.observer import foveation
from pytest_pan.probes.foveation.report import lines
from pytest_pan.probes.table import read_audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def counted(model: nn.Module, side: int = 16, mode: str = "zeros", channels: int = 1) -> Tensor:
    return pixel_counts(model, (channels, side, side), mode=mode)[0]


def profile(kernel: int, padding: int, mode: str) -> list[float]:
    """Counts from the border inwards along the middle of a side, per window of the other axis."""
    side = 16
    counts = counted(nn.Conv2d(1, 1, kernel, padding=padding), side, mode)
    return (counts[: kernel - 1 + (kernel == 3), side // 2] / kernel).tolist()


@pytest.mark.parametrize(
    ("kernel", "padding", "mode", "weights"),
    [
        (3, 0, "zeros", [1, 2, 3]),
        (3, 1, "zeros", [2, 3, 3]),
        (3, 2, "zeros", [3, 3, 3]),
        (3, 1, "circular", [3, 3, 3]),
        (3, 1, "symmetric", [3, 3, 3]),
        (3, 1, "reflect", [2, 4, 3]),
        (5, 2, "replicate", [6, 4, 5, 5]),
        (5, 2, "reflect", [3, 6, 6, 5]),
        (5, 2, "zeros", [3, 4, 5, 5]),
        (3, 1, "partial", [2.5, 3.5, 3]),
    ],
)
def test_one_layer_reads_pixels_as_in_mind_the_pad(
    kernel: int, padding: int, mode: str, weights: list[float]
) -> None:
    assert profile(kernel, padding, mode) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("name", "side", "least", "asymmetry"),
    [
        ("vgg16", 224, 0.3055, 0.0),
        ("resnet50", 224, 0.0650, 0.1122),
        ("resnet50", 225, 0.2638, 0.0),
    ],
)
def test_known_networks_have_the_figures_of_an_independent_count(
    name: str, side: int, least: float, asymmetry: float
) -> None:
    with torch.device("meta"):
        empty = getattr(models, name)()
    model = empty.to_empty(device="cpu").eval()  # its weights are not read
    counts, stride, _ = pixel_counts(model, (3, side, side))
    found = foveation(counts, stride, "own")
    assert stride == (32, 32)
    assert (found.least, found.asymmetry) == pytest.approx((least, asymmetry), abs=1e-4)


class Branches(nn.Module):
    """A residual sum, a concatenation with other widths, an uneven stride and a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.again = nn.Conv2d(2, 2, 3, padding=1, groups=2)
        self.wide = nn.Conv2d(2, 4, 3, padding=1)
        self.last = nn.Conv2d(6, 1, 3, padding=(0, 1))

    def forward(self, images: Tensor) -> Tensor:
        first = torch.relu(self.first(images))
        both = first + self.again(first)
        maps: Tensor = self.last(torch.cat([both, self.wide(both)], 1))
        return nn.functional.max_pool2d(maps, 2, ceil_mode=True)


def test_sums_and_concatenations_count_what_the_paths_one_by_one_give() -> None:
    side = 16

    def reads(out: int, kernel: int, stride: int, padding: int, size: int) -> list[int]:
        cells = (out * stride - padding + k for k in range(kernel))
        return [cell for cell in cells if 0 <= cell < size]

    def spread(count: dict[Any, float], layer: tuple[int, int, int], size: int, dims: Any) -> Any:
        kernel, stride, padding = layer
        found: dict[Any, float] = {}
        for (row, column), weight in count.items():
            rows = reads(row, kernel, stride, dims[0] if padding < 0 else padding, size)
            columns = reads(column, kernel, stride, dims[1] if padding < 0 else padding, size)
            for cell in itertools.product(rows, columns):
                found[cell] = found.get(cell, 0.0) + weight
        return found

    def plus(*counts: dict[Any, float]) -> dict[Any, float]:
        return {c: sum(each.get(c, 0.0) for each in counts) for c in set().union(*counts)}

    pooled = dict.fromkeys(itertools.product(range(3), range(4)), 1.0)
    maps = spread(pooled, (2, 2, 0), 8, None)
    joined = spread(maps, (3, 1, -1), 8, (0, 1))
    both = plus(
        {c: w * 2 / 6 for c, w in joined.items()},
        {c: w * 4 / 6 for c, w in spread(joined, (3, 1, 1), 8, None).items()},
    )
    first = plus(both, spread(both, (3, 1, 1), 8, None))
    pixels = spread(first, (3, 2, 1), side, None)
    expected = torch.zeros(side, side, dtype=torch.float64)
    for (row, column), weight in pixels.items():
        expected[row, column] = weight
    torch.testing.assert_close(counted(Branches().eval(), side), expected)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t", "shufflenet_v2_x0_5"])
def test_gates_attention_and_shuffles_run_and_say_what_was_replaced(name: str) -> None:
    model = getattr(models, name)().eval()
    counts, _, replaced = pixel_counts(model, (3, 64, 64))
    assert counts.min() > 0
    expected = {"mobilenet_v3_small": ("gates",), "swin_t": ("attention",)}.get(name, ())
    assert replaced == expected


def test_a_model_that_writes_in_place_is_counted_like_one_that_does_not() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.more = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.conv(images).relu_()
            kept = self.more(maps)
            kept += maps
            return kept

    class Out(InPlace):
        def forward(self, images: Tensor) -> Tensor:
            maps = self.conv(images).relu()
            return maps + self.more(maps)

    torch.testing.assert_close(counted(InPlace()), counted(Out()))


def test_an_audit_has_the_figures_of_the_own_and_of_the_swapped_padding() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    found = audit(model, bright_images(8))
    zeros, reflect = found.findings["foveation"].maps
    assert found.measures["foveation_min"].value == zeros.least == pytest.approx(25 / 81)
    assert reflect.padding == "reflect"
    assert reflect.least != zeros.least
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["foveation"] == found.findings["foveation"]
    assert next(lines(found)).startswith("foveation: the least read pixels are read 30.9 % as")


def test_padding_that_copies_no_pixel_is_said_and_left_out() -> None:
    found = audit(nn.Conv2d(1, 3, 3, padding=1), bright_images(8), mode="noise")
    assert len(found.findings["foveation"].maps) == 1
    assert any("foveation with noise padding has no meaning" in note for note in found.notes)


@pytest.mark.parametrize(
    ("size", "cells", "product", "stride"),
    [
        (224, 7, 32, 32),
        (299, 8, 32, 32),
        (224, 7, 4, 32),
        (299, 8, 2, 38),
        (16, 16, 1, 1),
        (9, 1, 0, 9),
    ],
)
def test_the_total_stride_is_the_product_of_strides_unless_cells_are_skipped(
    size: int, cells: int, product: float, stride: int
) -> None:
    assert axis_stride(size, cells, product) == stride


class Mixed(nn.Module):
    """Strides by axis, an upsampling convolution, a cast, a detached map, an adaptive pool."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=(4, 2), padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.up(self.down(images).float().to(images.dtype).detach())
        return nn.functional.adaptive_avg_pool2d(maps, 3)


def test_the_stride_follows_each_axis_and_no_weight_is_read() -> None:
    """A 2x2 transposed convolution of stride 2 reads each of its cells 4 times."""
    counts, stride, _ = pixel_counts(Mixed().eval(), (1, 16, 16))
    down, _, _ = pixel_counts(nn.Conv2d(1, 1, 3, stride=(4, 2), padding=1), (1, 16, 16))
    assert stride == (2, 1)
    torch.testing.assert_close(counts, 4 * down * 2)


def test_inception_has_a_axis_stride_of_32() -> None:
    with torch.device("meta"):
        empty = models.inception_v3(init_weights=False)
    _, stride, _ = pixel_counts(empty.to_empty(device="cpu").eval(), (3, 299, 299))
    assert stride == (32, 32)


def test_a_max_pool_that_gives_its_indices_is_summed_like_one_that_does_not() -> None:
    class Indices(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            maps, _ = nn.functional.max_pool2d(images, 3, 2, 1, return_indices=True)
            return maps

    torch.testing.assert_close(counted(Indices()), counted(nn.MaxPool2d(3, 2, 1)))
