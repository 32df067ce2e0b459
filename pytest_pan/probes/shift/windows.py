"""Top classes of pairs of windows of larger images (Zhang 2019; Azulay and Weiss 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.probes import larger, outputs
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.larger import Size
from pytest_pan.probes.observer import Context
from pytest_pan.probes.scores import in_form

REACH = 32
"""Largest offset of a window, in rows and in columns."""
PAIRS = 3
"""Pairs of windows of each image."""

Offset = tuple[int, int]


@dataclass
class Shifted:
    """What the pairs of windows showed, image by image."""

    same: list[Tensor] = field(default_factory=list)
    """Whether each pair has the same top class: (PAIRS,) bool."""
    changes: list[Tensor] = field(default_factory=list)
    """Change of the top class's probability under a shift by one pixel: (PAIRS,)."""
    places: list[int] = field(default_factory=list)
    """Places of the images among the larger images."""
    not_finite: list[int] = field(default_factory=list)
    """Places of images that gave outputs that are not finite."""


def offsets(seed: int, place: int) -> list[tuple[Offset, Offset, Offset]]:
    """Return for each pair the offsets of both windows, and of the first moved by one pixel.

    Offsets are uniform in {0..REACH}^2. The third is that of the first, one row or column further
    (by a draw), or one back at the end.
    """
    draws = np.random.default_rng((seed, place))
    found = []
    for _ in range(PAIRS):
        (top, left), other = draws.integers(0, REACH + 1, (2, 2)).tolist()
        near = [top, left]
        axis = int(draws.integers(0, 2))
        near[axis] += 1 if near[axis] < REACH else -1
        found.append(((top, left), (other[0], other[1]), (near[0], near[1])))
    return found


def framed(image: Tensor, size: Size) -> Tensor:
    """Return the middle of an image, resized until one side just fits: (C, H, W) -> (C, h, w).

    Zhang (2019) resizes the short side to 256 for windows of 224.
    """
    height, width = image.shape[1:]
    factor = max(size[0] / height, size[1] / width)
    if factor < 1:
        target = max(round(height * factor), size[0]), max(round(width * factor), size[1])
        image = F.interpolate(
            image[None], target, mode="bilinear", align_corners=False, antialias=True
        )[0]
    return larger.centred(image, size)


def compare(context: Context, run: Runner, places: Sequence[int], size: Size) -> Shifted:
    """Run the windows of size (h, w) of the larger images at these places."""
    found, settings = Shifted(), context.settings
    form = context.original.scores.form
    at_once = max(1, settings.batch_size // (3 * PAIRS))
    for group in larger.groups(context, set(places), at_once):
        windows = torch.stack(
            [each for at, image in group for each in _windows(image, at, size, settings.seed)]
        )
        reading = in_form(outputs.read(run(windows), settings.task, context.pick), form)
        good = outputs.finite(reading).unflatten(0, (len(group), -1)).all(1)
        for place, (at, _) in enumerate(group):
            if not good[place]:
                found.not_finite.append(at)
                continue
            first = place * 3 * PAIRS
            ours, theirs, near = (
                outputs.part(reading, first + k * PAIRS, first + (k + 1) * PAIRS) for k in range(3)
            )
            changed = outputs.flips(ours, theirs)
            before, after = outputs.probabilities(ours), outputs.probabilities(near)
            if changed is None or before is None or after is None:
                raise ValueError("outputs without classes")
            top = before.argmax(1, keepdim=True)
            found.same.append(changed == 0)
            found.changes.append((before - after).gather(1, top).abs().flatten().cpu())
            found.places.append(at)
    return found


def _windows(image: Tensor, place: int, size: Size, seed: int) -> Iterator[Tensor]:
    """Yield the first windows of all pairs, then the second, then those moved by one pixel."""
    frame = framed(image, (size[0] + REACH, size[1] + REACH))
    for which in range(3):
        for pair in offsets(seed, place):
            top, left = pair[which]
            yield frame[:, top : top + size[0], left : left + size[1]]
