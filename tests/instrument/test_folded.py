"""Convolutions whose batch is folded into their channels: each image has its own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from seam import IMAGES, WEIGHT, Calls, seen
from torch import Tensor, nn

from pytest_pan.instrument.repad import repad, repadded_lines
from pytest_pan.instrument.sites import leaves_figures_incomplete
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.plans import MODES

KERNELS = torch.rand(2, 6, 2, 3, 3, generator=torch.Generator().manual_seed(2))
"""For two images: six filters each, in two groups of two input channels."""


def folded(x: Tensor, groups: int = 2) -> Tensor:
    n, c, h, w = x.shape
    kernels = KERNELS[:n].reshape(n * 6, c // groups, 3, 3)
    return F.conv2d(x.reshape(1, n * c, h, w), kernels, padding=1, groups=n * groups).view(
        n, 6, h, w
    )


def apart(x: Tensor, pad: Callable[[Tensor], Tensor] = lambda x: F.pad(x, (1, 1, 1, 1))) -> Tensor:
    """The oracle: one convolution for each image."""
    rows = [F.conv2d(pad(image[None]), k, groups=2) for image, k in zip(x, KERNELS, strict=False)]
    return torch.cat(rows)


MODEL = Calls(lambda m, x: folded(x))


def test_each_image_has_its_own_map_and_neurons_are_counted_once() -> None:
    (call,) = seen(MODEL)
    site = call.site()
    assert (site.channels, site.groups, call.fold) == (6, 2, 2)
    assert call.maps.shape == (2, 6, 9, 9)
    torch.testing.assert_close(call.maps, apart(IMAGES))


def test_one_image_is_the_same_site_and_nothing_is_folded() -> None:
    (one,), (two,) = seen(MODEL, IMAGES[:1]), seen(MODEL)
    assert one.fold == 1
    assert one.site() == two.site()
    torch.testing.assert_close(one.maps, two.maps[:1])


def test_maps_of_other_convolutions_are_their_output_with_a_batch() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    (call,) = seen(layer)
    assert call.maps is call.output
    (alone,) = seen(layer, IMAGES[0])
    assert alone.maps.shape == (1, *alone.output.shape)


def test_padding_in_front_of_the_folding_is_known() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 2, 3, 4))
        n, c, h, w = x.shape
        return F.conv2d(x.view(1, n * c, h, w), torch.rand(n, c, 3, 3), groups=n)

    (call,) = seen(Calls(forward))
    assert (call.site().padding, call.site().channels) == ((3, 4, 1, 2), 1)


@pytest.mark.parametrize("channels", [None, torch.tensor([5, 1])])
def test_a_swap_writes_these_channels_of_every_image_into_the_real_output(
    channels: Tensor | None,
) -> None:
    def forward(x: Tensor, see: Callable[[ConvCall], Any]) -> Tensor:
        with torch.no_grad(), tapped(Tap(MODEL, see)) as tap:
            tap.begin(len(x))
            output: Tensor = MODEL(x)
            return output

    swapped = forward(IMAGES, lambda call: repad(call, channels, "reflect"))
    theirs = apart(IMAGES, lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"))
    plain, chosen = apart(IMAGES), slice(None) if channels is None else channels
    plain[:, chosen] = theirs[:, chosen]
    torch.testing.assert_close(swapped, plain)


@pytest.mark.parametrize("mode", MODES)
def test_lines_are_those_of_the_images_one_by_one(mode: str) -> None:
    def lines(images: Tensor) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        (call,) = seen(MODEL, images)
        with torch.no_grad():
            found = [*repadded_lines(call, torch.tensor([4, 0]), mode, generator)]
        return [each.block for each in found]

    if mode == "noise":  # drawn for all images at once: compared by shape
        assert [block.shape[:2] for block in lines(IMAGES)] == [(2, 2)] * 2
        return
    both, first = lines(IMAGES), lines(IMAGES[:1])
    for ours, theirs in zip(both, first, strict=True):
        torch.testing.assert_close(ours[:1], theirs)


@pytest.mark.parametrize(
    ("function", "is_incomplete"),
    [
        (lambda x: F.conv2d(x.reshape(1, 8, 9, 9), WEIGHT.repeat(1, 2, 1, 1), padding=1), False),
        (
            lambda x: F.conv2d(
                x.reshape(1, 8, 9, 9)[:, :6], torch.rand(3, 2, 3, 3), padding=1, groups=3
            ),
            True,
        ),
    ],
)
def test_a_batch_of_one_that_cannot_be_unfolded_is_listed(
    function: Callable[[Tensor], Tensor], is_incomplete: bool
) -> None:
    heard: dict[str, str] = {}
    model = nn.Sequential(Calls(lambda m, x: function(x)))
    assert not seen(model, passed_over=heard)
    assert heard["0"].startswith("its batch is not that of the images")
    assert leaves_figures_incomplete(heard["0"]) == is_incomplete


def test_a_layer_of_the_model_on_one_map_is_not_folded() -> None:
    """Its weight is a parameter, so that it has no kernels of its own for each image."""
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    (call,) = seen(Calls(lambda m, x: m.c(x.mean(0, keepdim=True)) + x, c=layer))
    assert (call.fold, call.site().channels) == (1, 4)
