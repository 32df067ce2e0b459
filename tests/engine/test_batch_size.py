"""No figure depends on the batch size: what would depend on it is listed, and no limit passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_pan import Audit, audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

IMAGES = torch.rand(30, 4, 12, 12, generator=torch.Generator().manual_seed(0)).cumsum(3) / 6
KERNEL = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))


def mean_over_the_batch(x: Tensor) -> Tensor:
    return x + F.conv2d(x.mean(0, keepdim=True), KERNEL, padding=1, groups=4)


def a_mask(x: Tensor) -> Tensor:
    return x * F.conv2d(torch.ones(1, 1, *x.shape[2:]), KERNEL[:1], padding=1)


def kernels(x: Tensor) -> Tensor:
    """Each image's own: (N, 4, 1, 3, 3)."""
    return KERNEL * (1 + x.mean((1, 2, 3)))[:, None, None, None, None]


def images_first(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    folded = x.reshape(1, n * c, h, w)
    return F.conv2d(folded, kernels(x).reshape(n * c, 1, 3, 3), padding=1, groups=n * c).view_as(x)


def channels_first(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    folded = x.transpose(0, 1).reshape(1, n * c, h, w)
    weight = kernels(x).transpose(0, 1).reshape(n * c, 1, 3, 3)
    found = F.conv2d(folded, weight, padding=1, groups=n * c)
    return found.view(c, n, h, w).transpose(0, 1)


def every_kernel_on_every_image(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    found = F.conv2d(x, kernels(x).expand(n, c, c, 3, 3).reshape(n * c, c, 3, 3), padding=1)
    return found.view(n, n, c, h, w)[range(n), range(n)]


class Dynamic(nn.Module):
    """A convolution with kernels of each image, between two of its own."""

    def __init__(self, convolve: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve, self.first = convolve, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(self.first(x)).mean((2, 3))


def figures(convolve: Callable[[Tensor], Tensor], batch_size: int) -> Audit:
    return audit(Dynamic(convolve), IMAGES, batch_size=batch_size, probes=("pans",))


@pytest.mark.parametrize(
    "convolve", [channels_first, every_kernel_on_every_image, mean_over_the_batch]
)
@pytest.mark.parametrize("batch_size", [10, 30])
def test_convolutions_that_mix_the_images_of_a_batch_are_listed(
    convolve: Callable[[Tensor], Tensor], batch_size: int
) -> None:
    one, several = figures(convolve, 1), figures(convolve, batch_size)
    assert [site.name for site in one.sites] == ["first", "(model)"]
    assert [site.name for site in several.sites] == ["first"]
    (skip,) = several.skips
    assert (skip.what, skip.best_outcome) == ("(model)", "inconclusive")
    assert skip.why == "an image alone gives other maps than in a batch: use a batch size of 1"


def test_folded_images_give_the_figures_of_images_one_by_one() -> None:
    one, several = figures(images_first, 1), figures(images_first, 10)
    assert (one.sites, one.measures["pan_count"]) == (several.sites, several.measures["pan_count"])
    assert not several.skips


def test_a_mask_of_all_images_does_not_depend_on_them_however_they_are_divided() -> None:
    for size in (1, 10, 30):
        (skip,) = figures(a_mask, size).skips
        assert skip.why == "its output does not depend on the images"
        assert skip.best_outcome == "pass"
