"""The network of the red-green test, by padding scheme."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pytest_pan.studies.border_handling.network import Network
from pytest_pan.studies.border_handling.records import SCHEMES, Scheme

BY_NAME = {scheme.name: scheme for scheme in SCHEMES}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


def windows(size: int, padding: int, stride: int) -> int:
    """How many windows of 3 fit, counted one by one."""
    return sum(
        1 for start in range(0, size + 2 * padding, stride) if start + 3 <= size + 2 * padding
    )


@every_scheme
def test_map_sizes_are_the_numbers_of_windows(scheme: Scheme) -> None:
    size, sizes = 32, []
    for stride in (1, 2, 2, 1):
        size = windows(size, scheme.padding, stride)
        sizes.append(size)
    maps: Tensor = torch.rand(2, 3, 32, 32)
    seen = []
    for layer in Network(scheme).features:
        maps = layer(maps)
        seen.append(tuple(maps.shape))
    pairs = zip((32, 32, 64, 64), sizes, strict=True)
    assert seen[::2] == seen[1::2] == [(2, channels, n, n) for channels, n in pairs]


@every_scheme
def test_only_the_linear_layer_has_a_bias(scheme: Scheme) -> None:
    shapes = {name: tuple(p.shape) for name, p in Network(scheme).named_parameters()}
    assert sorted(shapes.values()) == sorted(
        [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (2, 64), (2,)]
    )


@pytest.mark.parametrize(("name", "positions"), [("valid", 1), ("zero", 4), ("full zero", 9)])
def test_as_many_kernel_positions_read_a_corner_as_the_scheme_lets(
    name: str, positions: int
) -> None:
    first = Network(BY_NAME[name]).features[0]
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, 0, 0] = 1
    seen = first(image)[0, 0]
    assert int((seen != 0).sum()) == positions
    kernel = set(first.weight[0, 0].flatten().tolist())
    assert set(seen[seen != 0].tolist()) <= kernel


shifts = st.integers(-7, 7).map(lambda n: 4 * n)


@given(shifts, shifts, st.integers(0, 100))
@settings(max_examples=25)
def test_with_circular_padding_logits_stay_under_circular_shifts_by_the_total_stride(
    down: int, right: int, seed: int
) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).double()
    network = Network(BY_NAME["circular"]).double()
    torch.testing.assert_close(network(images.roll((down, right), (2, 3))), network(images))


@every_scheme
@given(down=st.integers(0, 4).map(lambda n: 4 * n), right=st.integers(0, 4).map(lambda n: 4 * n))
@settings(max_examples=10)
def test_away_from_the_border_no_scheme_lets_the_network_read_location(
    scheme: Scheme, down: int, right: int
) -> None:
    # of 64 pixels, the windows of the last layer (17 wide, 4 apart) that read any of 20..43
    # all exist, with each padding
    image = torch.zeros(1, 3, 64, 64).double()
    image[0, 0, 20:24, 20:24] = 1
    image[0, 1, 20:24, 24:28] = 1
    network = Network(scheme).double()
    torch.testing.assert_close(network(image.roll((down, right), (2, 3))), network(image))


@pytest.mark.parametrize("name", ["valid", "zero"])
def test_at_the_border_logits_depend_on_location(name: str) -> None:
    torch.manual_seed(0)
    network = Network(BY_NAME[name]).double()
    image = torch.zeros(1, 3, 32, 32).double()
    image[0, :2, 0:4, 12:16] = 1
    assert not torch.allclose(network(image), network(image.roll(12, 2)))


@given(st.integers(1, 4).map(lambda n: 4 * n), st.integers(1, 4).map(lambda n: 4 * n))
@settings(max_examples=10)
def test_full_zero_padding_is_as_more_canvas_so_that_no_border_shows(above: int, left: int) -> None:
    network = Network(BY_NAME["full zero"]).double()
    images = torch.rand(2, 3, 32, 32).double()
    margins = (left, 20 - left, above, 20 - above)
    torch.testing.assert_close(network(functional.pad(images, margins)), network(images))
