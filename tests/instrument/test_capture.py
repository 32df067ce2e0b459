"""Samples are the convolution's own values, each once, in their region."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.neurons import SIDES


def site_of(channels: int, height: int, width: int) -> Any:
    calls: list[ConvCall] = []
    layer = nn.Conv2d(1, channels, 3, padding=1)
    with torch.no_grad(), tapped(Tap(layer, calls.append)):
        layer(torch.rand(1, 1, height, width))
    return calls[0].site()


def numbered(images: int, channels: int, height: int, width: int) -> Tensor:
    """Maps in which every value occurs once."""
    count = images * channels * height * width
    return torch.arange(float(count)).reshape(images, channels, height, width)


def captured(maps: Tensor, batch: int) -> Samples:
    samples = Samples(site_of(*maps.shape[1:]))
    for part in maps.split(batch):
        samples.add(part)
    return samples


shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7))


@given(shapes, st.integers(1, 4))
def test_every_value_is_in_the_centre_or_on_a_border_and_only_corners_are_on_two(
    shape: Any, batch: int
) -> None:
    """METHODS section 1: (H-2)(W-2) values an image in the centre, corners shared."""
    images, channels, height, width = shape
    maps = numbered(*shape)
    samples = captured(maps, batch)
    borders, centre = samples.borders(), samples.centre()
    assert centre.shape == (channels, images * (height - 2) * (width - 2))
    for channel in range(channels):
        everywhere = torch.cat([*(border[channel] for border in borders), centre[channel]])
        values, counts = everywhere.unique(return_counts=True)
        assert torch.equal(values, maps[:, channel].flatten())
        corners = maps[:, channel][:, [0, 0, -1, -1], [0, -1, 0, -1]].flatten()
        assert torch.equal(values[counts == 2], corners.sort().values)
        assert counts.max() == 2


@given(shapes, st.integers(0, 2))
def test_turning_the_maps_upside_down_exchanges_top_and_bottom_at_every_distance(
    shape: Any, distance: int
) -> None:
    maps = numbered(*shape)
    samples, turned = captured(maps, 2), captured(maps.flip(2), 2)
    mirrored = captured(maps.flip(3), 2)
    assert torch.equal(samples.line("T", distance), turned.line("B", distance))
    assert torch.equal(samples.line("L", distance), mirrored.line("R", distance))
    assert torch.equal(samples.line("B", distance), turned.line("T", distance))


def test_the_line_at_distance_zero_is_the_border_itself() -> None:
    samples = captured(numbered(2, 3, 5, 6), 1)
    for side, border in zip(SIDES, samples.borders(), strict=True):
        assert torch.equal(samples.line(side, 0), border)


def test_chosen_channels_are_those_rows_of_all_channels() -> None:
    samples = captured(numbered(3, 4, 5, 6), 2)
    chosen = torch.tensor([3, 1])
    for side in SIDES:
        assert torch.equal(samples.line(side, 1, chosen), samples.line(side, 1)[chosen])
    assert torch.equal(samples.centre(chosen), samples.centre()[chosen])


@given(shapes, st.integers(0, 4))
def test_merging_is_capturing_all_images_at_once(shape: Any, first: int) -> None:
    maps = numbered(*shape)
    first = min(first, shape[0] - 1)
    whole = captured(maps, 4)
    merged = captured(maps[first:], 1)
    if first:
        before = captured(maps[:first], 3)
        before.merge(merged)
        merged = before
    assert merged.images == whole.images == shape[0]
    assert torch.equal(merged.centre(), whole.centre())
    for ours, theirs in zip(merged.borders(), whole.borders(), strict=True):
        assert torch.equal(ours, theirs)


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = captured(numbered(2, 1, 4, 4), 1), captured(numbered(3, 1, 4, 4) + 100, 3)
    one.merge(other)
    one.add(torch.zeros(1, 1, 4, 4))
    assert (one.images, other.images) == (6, 3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_of_the_network_does_not_matter(layout: torch.memory_format) -> None:
    maps = numbered(2, 3, 5, 6)
    samples = captured(maps.contiguous(memory_format=layout), 2)
    assert torch.equal(samples.centre(), captured(maps, 2).centre())
    assert samples.centre().is_contiguous()


def test_a_map_without_a_batch_is_one_image() -> None:
    maps = numbered(1, 2, 4, 5)
    alone = Samples(site_of(2, 4, 5))
    alone.add(maps[0])
    assert alone.images == 1
    assert torch.equal(alone.centre(), captured(maps, 1).centre())


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float64, 8), (torch.float32, 4), (torch.bfloat16, 2)]
)
def test_what_is_held_is_what_the_values_weigh(dtype: torch.dtype, size: int) -> None:
    samples = Samples(site_of(2, 4, 5))
    assert samples.add(torch.zeros(3, 2, 4, 5, dtype=dtype)) == 3 * 2 * 4 * 5 * size
    assert samples.centre().dtype == dtype


class InPlace(nn.Module):
    """Does to its input what later layers may do: overwrites, resizes, changes by a view."""

    def forward(self, x: Tensor) -> Tensor:
        x.view(-1)[::2] = 7
        x.relu_().mul_(3)
        return x.add_(1)


@pytest.mark.parametrize("size", [(1, 1, 6, 6), (1, 6, 6)])
def test_what_later_layers_do_in_place_does_not_reach_the_samples(size: tuple[int, ...]) -> None:
    layer, images = nn.Conv2d(1, 2, 3, padding=1), torch.rand(size)
    model, samples = nn.Sequential(layer, InPlace()), Samples(site_of(2, 6, 6))

    def see(call: ConvCall) -> None:
        samples.add(call.output)

    with torch.no_grad():
        expected = layer(images).reshape(1, 2, 6, 6)
        with tapped(Tap(model, see)):
            model(images)
    assert torch.equal(samples.maps[0], expected)


def test_samples_hold_on_to_no_graph() -> None:
    samples, layer = Samples(site_of(2, 6, 6)), nn.Conv2d(1, 2, 3, padding=1)

    def see(call: ConvCall) -> None:
        samples.add(call.output)

    with tapped(Tap(layer, see)):
        layer(torch.rand(1, 1, 6, 6))
    assert not samples.maps[0].requires_grad
    assert samples.maps[0].grad_fn is None
