"""Passes over larger images: with their true surroundings, and cut to the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes import larger
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.larger import Size
from pytest_pan.probes.ppp.sums import Difference, Surroundings
from pytest_pan.records.plans import Plan

LEAST_MARGIN = 128
"""Pixels on each side: on MobileNetV2, figures within 2.4 % of those of twice the margin."""


def margin_of(size: Size, stride: int, sizes: Sequence[Size], least: int) -> int:
    """Return the margin: the smallest multiple of the stride from :data:`LEAST_MARGIN` on.

    If fewer than ``least`` of the images are large enough, the largest multiple for which so many
    are; 0 if there is none.
    """
    for steps in range(-(-LEAST_MARGIN // stride), 0, -1):
        needed = with_margin(size, steps * stride)
        if sum(larger.fits(each, needed) for each in sizes) >= least:
            return steps * stride
    return 0


def with_margin(size: Size, margin: int) -> Size:
    """Return the size of an input with its margin on each side."""
    return size[0] + 2 * margin, size[1] + 2 * margin


@dataclass
class Collected:
    """Sums by site."""

    groups: int
    """Number of groups of images that sums are kept for."""
    true: dict[str, Surroundings] = field(default_factory=dict)
    own: dict[str, Difference] = field(default_factory=dict)
    swapped: dict[str, Difference] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Sites whose maps cannot be compared, with the reason."""


def collect(
    run: Runner,
    windows: Tensor,
    groups: Tensor,
    *,
    margin: int,
    sites: Sequence[str],
    plan: Plan,
    sums: Collected,
) -> None:
    """Add images with their margin, (N, C, h + 2 margin, w + 2 margin), in groups (N,), to sums."""
    big: dict[str, Tensor] = {}

    def keep(call: ConvCall) -> None:
        if call.name in sites:
            big[call.name] = call.maps.detach().clone()

    run(windows, see=keep)
    inner = windows[:, :, margin:-margin, margin:-margin]
    for padding, into in ((None, sums.own), (plan, sums.swapped)):

        def compare(call: ConvCall, into: dict[str, Difference] = into) -> None:
            if call.name not in big or call.name in sums.left_out:
                return
            maps = call.maps.detach()
            true, why = _aligned(big[call.name], maps, margin)
            if true is None:
                sums.left_out[call.name] = why
                return
            if call.name not in into:
                into[call.name] = Difference.empty(sums.groups, maps.shape)
            into[call.name].add(maps, true, groups)
            if into is sums.own:
                empty = Surroundings.empty(sums.groups, maps.shape[1])
                sums.true.setdefault(call.name, empty).add(true, groups)

        run(inner, plan=padding, see=compare)


def _aligned(big: Tensor, small: Tensor, margin: int) -> tuple[Tensor | None, str]:
    """Return the window of a large map that shows what the small one shows, or why there is none.

    (N, C, H, W), (N, C, h, w) -> (N, C, h, w). A layer of stride S_l has margin / S_l cells of
    surroundings on each side.
    """
    window = big
    for axis in (2, 3):
        more, cells = big.shape[axis] - small.shape[axis], small.shape[axis]
        if more <= 0 or more % 2 or 2 * margin % more:
            return None, f"its map has {cells} cells, and {cells + more} with the margin {margin}"
        window = window.narrow(axis, more // 2, cells)
    return (window, "") if len(big) == len(small) else (None, "it runs several times an image")
