"""The larger images of an audit: which are large enough, windows of them, the total stride."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from torch import Tensor

from pytest_pan.instrument.paths import axis_stride
from pytest_pan.probes.foveation.records import FoveationFindings
from pytest_pan.probes.observer import Context
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import InputError
from pytest_pan.records.measures import LEAST_IMAGES

Size = tuple[int, int]
"""Height and width."""


def stride_of(known: Audit) -> int:
    """Return the total stride: the largest of any examined layer and of the last feature map.

    The stride of the last map, which the probe ``foveation`` follows through the network, is that
    of every layer whose map has a fitting size; of the others it follows from the sizes.
    """
    size, last = known.images["shape"][1:], known.findings.get("foveation")
    stride = last.stride if isinstance(last, FoveationFindings) else 1
    inner = (
        axis_stride(pixels, cells, stride)
        for site in known.sites
        for pixels, cells in zip(size, site.map, strict=True)
    )
    return max([stride, *inner])


def sizes(context: Context, channels: int) -> list[Size]:
    """Return the size of each larger image; raise :class:`InputError` for other channels."""
    found: list[Size] = []
    for images in context.large_images or ():
        count, depth, height, width = images.shape
        if depth != channels:
            raise InputError(
                "images with another number of channels than the network's input",
                where="large_images",
                got=f"{depth} channels",
                allowed=f"{channels}",
            )
        found += [(height, width)] * count
    return found


def fits(size: Size, least: Size) -> bool:
    """Return whether an image is large enough."""
    return size[0] >= least[0] and size[1] >= least[1]


def chosen(context: Context, places: Collection[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield the larger images at some places, with their place: (C, H, W) each."""
    place, last = 0, max(places, default=-1)
    for images in context.large_images or ():
        for image in images:
            if place in places:
                yield place, image
            place += 1
        if place > last:
            return


def groups(
    context: Context, places: Collection[int], most: int
) -> Iterator[list[tuple[int, Tensor]]]:
    """Yield what :func:`chosen` does, up to ``most`` images at once."""
    images = chosen(context, places)
    while group := list(islice(images, most)):
        yield group


def centred(image: Tensor, size: Size) -> Tensor:
    """Return the window of that size in the middle: (C, H, W) -> (C, h, w)."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[1:], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]


def missing(probe: str, size: Size) -> str:
    """Return the note of a probe that has no larger images; ``size`` is the least."""
    return (
        f"{probe}: needs images larger than the network's input, at least {size[0]}x{size[1]} and "
        f"{LEAST_IMAGES} of them, normalised alike: give them by the fixture pan_large_images, or "
        "large_images"
    )


def too_small(probe: str, found: Collection[Size], size: Size) -> str:
    """Return the note on larger images that are too small; empty if none is."""
    small = sum(not fits(each, size) for each in found)
    if not small:
        return ""
    return (
        f"{probe}: {small} of {len(found)} larger images are smaller than {size[0]}x{size[1]} and "
        f"were left out; at least {LEAST_IMAGES} of this size are needed"
    )
