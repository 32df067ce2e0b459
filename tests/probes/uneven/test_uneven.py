"""Uneven layers and dropped cells against windows counted one by one, and known networks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import bright_images
from torch import nn
from torch.nn import functional as F
from torchvision import models

from pytest_pan import audit
from pytest_pan.instrument.windows import UnevenError, windows_at
from pytest_pan.probes import advice
from pytest_pan.probes.bench import Bench
from pytest_pan.probes.table import read_audit
from pytest_pan.probes.uneven.observer import kernel_shift, nearest_even, windows_seen
from pytest_pan.probes.uneven.report import lines

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


class Functional(nn.Module):
    """An optional explicit pad, then a convolution or a pool."""

    def __init__(self, kind: str, pad: list[int], **options: Any) -> None:
        super().__init__()
        self.kind, self.pad, self.options = kind, pad, options
        self.weight = nn.Parameter(torch.ones(1, 1, options["kernel"], options["kernel"]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        o = self.options
        maps = F.pad(images, self.pad) if any(self.pad) else images
        if self.kind == "conv":
            return F.conv2d(maps, self.weight, None, o["stride"], o["padding"], o["dilation"])
        if self.kind == "max":
            return F.max_pool2d(
                maps, o["kernel"], o["stride"], o["padding"], o["dilation"], ceil_mode=o["ceil"]
            )
        return F.avg_pool2d(maps, o["kernel"], o["stride"], o["padding"], ceil_mode=o["ceil"])


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["conv", "max", "avg"]),
    side=st.integers(9, 20),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    pad=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    ceil=st.booleans(),
)
def test_consumed_and_dropped_cells_are_those_of_the_windows_one_by_one(
    kind: str,
    side: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    pad: list[int],
    ceil: bool,
) -> None:
    dilation = 1 if kind == "avg" else dilation
    padding = padding if kind == "conv" else min(padding, kernel // 2)
    made = Functional(
        kind,
        pad,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        ceil=ceil,
    )
    (found,) = windows_at(made, (1, side, side + 3))
    real = made(torch.zeros(1, 1, side, side + 3)).shape[2:]
    for axis, before in ((0, pad[2]), (1, pad[0])):
        size = side + 3 * axis
        starts = [j * stride - padding - before for j in range(real[axis])]
        ends = [start + dilation * (kernel - 1) for start in starts]
        expected = max(0, -starts[0]), max(0, ends[-1] - size + 1)
        assert found.axes[axis].consumed == expected
        assert found.axes[axis].dropped == max(0, size - 1 - ends[-1])
    assert found.is_pool == (kind != "conv")


NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0")


def on_meta(name: str) -> nn.Module:
    options = {"init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        return getattr(models, name)(**options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks_are_uneven_in_five_layers_at_224_and_even_at_known_sizes(name: str) -> None:
    """Of 160 to 320: the five that are 1 more than a multiple of 32, by independent references."""
    model = on_meta(name)
    uneven = [each for each in windows_at(model, (3, 224, 224)) if each.is_uneven]
    assert len(uneven) == 5

    def is_even(size: int) -> bool:
        try:
            return bool(windows_at(model, (3, size, size), stop=True))
        except UnevenError:
            return False

    assert [size for size in range(160, 321) if is_even(size)] == [161, 193, 225, 257, 289]
    if name.startswith("resnet"):
        amounts = [each.axes[0].consumed for each in uneven]
        assert amounts == [(3, 2), *4 * [(1, 0)]]
        assert [each.is_pool for each in uneven] == [False, True, False, False, False]
        assert [each.name for each in uneven][:2] == ["conv1", "maxpool"]


@pytest.mark.parametrize(("name", "size"), [("vgg16", 224), ("inception_v3", 299)])
def test_networks_without_padded_strides_are_even(name: str, size: int) -> None:
    assert not any(each.is_uneven for each in windows_at(on_meta(name), (3, size, size)))


def test_rows_that_no_window_reads_are_said() -> None:
    """Kernel 3, stride 3 on 16 cells reads 15."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, stride=3))
    found = audit(model, bright_images(8))
    assert found.measures["dropped_cells"].value == 2
    assert next(lines(found)).endswith("; no window reads 2 rows and columns at the ends of maps")


def test_strided_shortcuts_drop_the_last_row_and_column() -> None:
    found = windows_at(on_meta("resnet18"), (3, 224, 224))
    dropped = {each.name: [a.dropped for a in each.axes] for each in found if each.axes[0].dropped}
    assert dropped == {f"layer{n}.0.downsample.0": [1, 1] for n in (2, 3, 4)}


def test_an_audit_counts_pools_and_keeps_convolutions_apart() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(2, 2, 3)
    )
    found = audit(model, bright_images(8))
    assert found.measures["uneven_layers"].value == 2
    assert found.measures["uneven_layers"].sites == {"0": 1.0, "1": 1.0, "2": 0.0}
    assert found.findings["uneven"].convolutions == 1
    assert found.findings["uneven"].to_json()["convolutions"] == 1
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["uneven"] == found.findings["uneven"]
    (line,) = lines(found)
    assert "at 16x16 2 layers (1 convolution, 1 pool) consume" in line
    assert "at 9x9, 13x13, 17x17, 21x21 none does" in line


def test_the_advice_is_the_nearest_even_size_with_the_asymmetry_there() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 2, 3, padding=1))
    (found, *_) = advice.ranked(audit(model, bright_images(40)))
    assert found.what == "Train and test on 17x17 images instead of 16x16."
    assert found.effect.endswith("to 0.0 %.")


def test_the_shift_of_a_kernel_is_the_mean_place_of_its_weights() -> None:
    """By hand: 1 in the middle and -3 to its right lie at 0.75 cells, equal ends at 0."""
    weight = torch.zeros(2, 1, 3, 3)
    weight[0, 0, 1, 1:] = torch.tensor([1.0, -3.0])
    weight[1, 0, 0, 0] = weight[1, 0, 2, 2] = 2
    assert kernel_shift(weight) == pytest.approx((0.0, 0.375))


def bench(model: nn.Module) -> Bench:
    settings = audit(nn.Conv2d(1, 1, 3, padding=1), bright_images(2)).settings
    return Bench(model.eval(), settings, torch.device("cpu"))


def test_the_nearest_even_sizes_of_resnet18_are_those_of_a_forward_pass_at_each_size() -> None:
    """The windows of real passes and those of shapes without arithmetic are one and the same."""
    shape = (3, 224, 224)
    with bench(models.resnet18()).open() as run:
        seen = windows_seen(run, shape)
        assert seen == windows_at(run.model, shape)
        sizes, why = nearest_even(run, shape, seen)
        assert not why
        assert sizes == ((161, 161), (193, 193), (225, 225), (257, 257))
        for size in sizes[1:3]:
            assert not any(each.is_uneven for each in windows_seen(run, (3, *size)))


def test_names_tell_the_pools_of_a_module_from_its_convolutions() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.pool = nn.MaxPool2d(3, 2, 1, return_indices=True)
            self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = F.conv2d(self.conv(images), self.weight)
            maps, _ = self.pool(maps)
            return F.avg_pool2d(F.avg_pool2d(F.pad(maps, (1, 0, 1, 0)), 2, 1), 2)

    with bench(nn.Sequential(Block())).open() as run:
        seen = windows_seen(run, (1, 16, 16))
    names = ["0.conv", "0", "0.pool", "0 (avg_pool2d)", "0 (avg_pool2d)#2"]
    assert [each.name for each in seen] == names
    assert [each.is_pool for each in seen] == [False, False, True, True, True]
    assert [each.axes[0].consumed for each in seen] == [(1, 1), (0, 0), (1, 0), (1, 0), (0, 0)]
    assert [each.axes[1].dropped for each in seen] == [0, 0, 0, 0, 1]


class Picky(nn.Module):
    """Refuses sizes that are not multiples of 4, as some networks do."""

    def __init__(self, of: int) -> None:
        super().__init__()
        self.of = of
        self.conv = nn.Conv2d(1, 2, 3, stride=3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2] % self.of:
            raise ValueError(f"not a multiple of {self.of}")
        return self.conv(images)


def test_sizes_that_the_model_refuses_are_left_out_and_said() -> None:
    """Kernel 3, stride 3, padding 1 is even where n + 2 is a multiple of 3: of 4, 4, 16, 28, 40."""
    found = audit(Picky(4), bright_images(8, size=20))
    assert found.findings["uneven"].even_sizes == ((4, 4), (16, 16), (28, 28), (40, 40))
    note = next(note for note in found.notes if note.startswith("uneven: the model refused"))
    assert "ValueError: not a multiple of 4" in note


def test_a_model_of_few_sizes_has_few_even_sizes_and_says_why() -> None:
    """15 and 16 pixels give 8 cells; the linear layer takes no other number."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(2 * 8 * 8, 3)
    )
    found = audit(model, bright_images(8, size=16))
    assert found.measures["uneven_layers"].value == 1
    assert found.findings["uneven"].even_sizes == ((15, 15),)
    assert any(note.startswith("uneven: the model refused") for note in found.notes)


def test_a_model_whose_shapes_need_numbers_is_searched_by_forward_passes_nearby() -> None:
    class Data(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, stride=2, padding=1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.stride(2) == 0:
                raise RuntimeError("needs an image in memory")
            return self.conv(images)

    with bench(Data()).open() as run:
        sizes, why = nearest_even(run, (1, 16, 16), windows_seen(run, (1, 16, 16)))
    assert sizes == ((13, 13), (15, 15), (17, 17), (19, 19))
    assert not why
