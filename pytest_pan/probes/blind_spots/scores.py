"""Score of one object at each place, from the outputs at all places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.probes import outputs
from pytest_pan.probes.blind_spots.places import Places
from pytest_pan.probes.blind_spots.records import CELLS
from pytest_pan.probes.outputs import Reading

CENTRE = CELLS * CELLS // 2


@dataclass(frozen=True, slots=True)
class Scored:
    """What the outputs for one object say, by place."""

    scores: Tensor
    """(CELLS * CELLS,) float64."""
    tops: Tensor | None = None
    """Top classes: (CELLS * CELLS,); None without one class for each image."""
    agreement: Tensor | None = None
    """Whether each of the object's pixels has its class at the centre: (CELLS * CELLS, h, w)."""


def scored(reading: Reading, places: Places, size: tuple[int, int]) -> Scored | None:
    """Score one object at all places, by what the outputs are: classes, pixels or boxes.

    The class is the top one of the mean probability over places: that of the centre would favour
    the centre. A single class has two outcomes, yes and no. None where no place has a box on the
    object. Raises ValueError for outputs without a score.
    """
    if reading.task == "detection":
        of_places = of_boxes(reading.boxes, places)
        return Scored(of_places) if bool(of_places.any()) else None
    shares, classes = outputs.probabilities(reading), outputs.predictions(reading)
    if shares is None or classes is None:
        raise ValueError(f"{reading.description} have no score")
    if reading.task == "segmentation":
        agreement = of_pixels(classes, places, size)
        return Scored(agreement.double().mean((1, 2)), agreement=agreement)
    if reading.classes == 1:
        shares = torch.cat([shares, 1 - shares], 1)
    best = int(shares.mean(0).argmax())
    scores = shares[:, best].clamp(min=torch.finfo(torch.float64).tiny).log().cpu()
    return Scored(scores, tops=classes.cpu() if reading.task == "classification" else None)


def of_pixels(classes: Tensor, places: Places, size: tuple[int, int]) -> Tensor:
    """Return whether the object's pixels keep their class: (cells, h, w), or their decisions on
    all classes: (cells, K, h, w).
    """
    maps = classes if classes.dim() == 4 else classes[:, None]
    whole = F.interpolate(maps.float(), size, mode="nearest-exact")
    height, width = places.side
    windows = []
    for cell in range(CELLS * CELLS):
        top, left = places.corner(cell)
        windows.append(whole[cell, :, top : top + height, left : left + width])
    stacked = torch.stack(windows)
    return (stacked == stacked[CENTRE]).all(1).cpu()


def of_boxes(boxes: Sequence[Mapping[str, Tensor]], places: Places) -> Tensor:
    """Return the best score of a box of the object's class with its middle on the object; else 0.

    The object's class is the one with the largest sum of these scores over places.
    """
    height, width = places.side
    best: dict[int, Tensor] = {}
    for cell, found in enumerate(boxes):
        top, left = places.corner(cell)
        middle = (found["boxes"][:, :2] + found["boxes"][:, 2:]) / 2
        x, y = middle[:, 0] - left, middle[:, 1] - top
        inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
        for label, score in zip(
            found["labels"][inside].tolist(), found["scores"][inside].tolist(), strict=True
        ):
            row = best.setdefault(label, torch.zeros(CELLS * CELLS, dtype=torch.float64))
            row[cell] = max(float(row[cell]), score)
    if not best:
        return torch.zeros(CELLS * CELLS, dtype=torch.float64)
    return max(best.values(), key=lambda row: float(row.sum()))
