"""Observer of the probe ``foveation``: counts paths, without images."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from pytest_pan.instrument.paths import MODES, pixel_counts
from pytest_pan.probes.foveation.records import Foveation, FoveationFindings
from pytest_pan.probes.observer import Context, Found, Observer, Pass
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measured

CELLS = 56
"""Most rows and columns of a map that the record keeps."""


class FoveationObserver(Observer):
    """Counts how often the last feature map reads each pixel, with the own and swapped padding."""

    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context = context

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else None

    def findings(self, known: Audit) -> Found:
        channels, *size = known.images["shape"]
        shape, mode = (channels, size[0], size[1]), self._context.settings.mode
        notes = []
        modes = ["zeros"]
        if mode in MODES:
            modes.append(mode)
        else:
            notes.append(f"foveation with {mode} padding has no meaning: it copies no single pixel")
        maps: list[Foveation] = []
        stride = (1, 1)
        replaced: tuple[str, ...] = ()
        with self._context.bench.open() as run:
            for each in modes:
                counts, stride, replaced = pixel_counts(run.model, shape, mode=each)
                maps.append(foveation(counts, stride, "own" if each == "zeros" else each))
        if replaced:
            notes.append(f"foveation: {' and '.join(replaced)} were replaced by identity")
        own = maps[0]
        return Found(
            findings=FoveationFindings(stride=max(stride), maps=tuple(maps), replaced=replaced),
            measures={
                name: Measured(measure=name, value=value)
                for name, value in (
                    ("foveation_min", own.least),
                    ("foveation_asymmetry", own.asymmetry),
                )
            },
            notes=tuple(notes),
        )


def foveation(counts: Tensor, strides: tuple[int, int], padding: str) -> Foveation:
    """Summarise the counts (H, W) in blocks of S x S pixels, S the larger of both axes' strides."""
    height, width = counts.shape
    stride = max(strides)
    block = min(stride, height), min(stride, width)
    means = F.avg_pool2d(counts[None, None], block, 1)[0, 0]
    top, left = (height - block[0]) // 2, (width - block[1]) // 2
    centre = float(counts[top : top + block[0], left : left + block[1]].mean())
    rows, columns = min(height, CELLS), min(width, CELLS)
    cells = F.adaptive_avg_pool2d(counts[None, None], (rows, columns))[0, 0] / centre
    return Foveation(
        padding=padding,
        size=(height, width),
        least=float(means.min()) / centre,
        asymmetry=max(_asymmetry(counts), _asymmetry(counts.T)),
        map=tuple(tuple(float(f"{value:.3g}") for value in row) for row in cells.tolist()),
    )


def _asymmetry(counts: Tensor) -> float:
    """Return the difference between the first and the last half of the rows over their sum."""
    half = len(counts) // 2
    first, last = float(counts[:half].sum()), float(counts[len(counts) - half :].sum())
    return abs(first - last) / (first + last) if first + last else 0.0
