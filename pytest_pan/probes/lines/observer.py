"""Observer of the probe ``lines``: mean maps over inputs without content (Mind the Pad)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.lines.records import Axis, LayerLines, Line, LinesFindings, Map
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Outcome
from pytest_pan.records.measures import Measured
from pytest_pan.records.plans import Plan

HALF = 16
"""Random inputs of each half."""
LEAST_SIDE = 4
"""Smallest map side that has an interior half and an outer quarter at either end."""
LEAST_DEVIATION = 1e-3
"""A channel whose deviation is below this part of the layer's median is left out."""
PICTURES, CELLS = 3, 56


@dataclass
class MeanMap:
    """Sums of maps over inputs, and of the squares in the interior half."""

    maps: Tensor
    """(C, H, W) float64."""
    squares: Tensor
    """(C,) float64."""
    inputs: int

    @classmethod
    def of(cls, maps: Tensor) -> MeanMap:
        """Sum maps: (N, C, H, W)."""
        exact = maps.detach().double()
        return cls(exact.sum(0).cpu(), interior(exact).square().sum((0, 2, 3)).cpu(), len(exact))

    def __add__(self, other: MeanMap) -> MeanMap:
        return MeanMap(
            self.maps + other.maps, self.squares + other.squares, self.inputs + other.inputs
        )

    @property
    def mean(self) -> Tensor:
        """Mean map: (C, H, W)."""
        return self.maps / self.inputs

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of the responses in the interior half, over inputs and cells: (C,)."""
        middle = interior(self.mean)
        count = self.inputs * middle[0].numel()
        variance = self.squares / count - middle.mean((1, 2)).square()
        return variance.clamp(min=0).sqrt()


Maps = dict[str, MeanMap]


def interior(maps: Tensor) -> Tensor:
    """Return the middle half of the rows and columns: (..., H, W)."""
    height, width = maps.shape[-2:]
    top, left = height // 4, width // 4
    return maps[..., top : height - top, left : width - left]


def excesses(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Return e of each row (C, H) and column (C, W): mean (C, H, W), deviation (C,).

    The mean of the line, without the outer quarter at either end, minus that of the interior half,
    in deviations.
    """
    height, width = mean.shape[1:]
    middle = interior(mean).mean((1, 2))[:, None]
    rows = mean[:, :, width // 4 : width - width // 4].mean(2)
    columns = mean[:, height // 4 : height - height // 4].mean(1)
    return (rows - middle) / deviation[:, None], (columns - middle) / deviation[:, None]


def strongest(mean: Tensor, deviation: Tensor) -> Line:
    """Return the line with the largest score: the root of the median over channels of e squared."""
    found: list[Line] = []
    axes: tuple[Axis, Axis] = ("row", "column")
    for axis, excess in zip(axes, excesses(mean, deviation), strict=True):
        scores = np.sqrt(np.median(excess.square().numpy(), axis=0))
        index = int(scores.argmax())
        found.append(Line(axis=axis, index=index, lines=len(scores), score=float(scores[index])))
    return max(found, key=lambda line: line.score)


class LinesObserver(Observer):
    """Gathers the images' mean and deviation, then measures lines on random and zero inputs."""

    adds_up = False
    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sums: list[Tensor] = []

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else (ORIGINAL,)

    def end(self, part: Part) -> None:
        if part.first < 4 * HALF:  # enough for a mean and a deviation
            pixels = part.images[: 4 * HALF - part.first].double().transpose(0, 1).flatten(1)
            count = torch.full((len(pixels),), float(pixels.shape[1]), dtype=torch.float64)
            sums = pixels.sum(1).cpu(), pixels.square().sum(1).cpu()
            self._sums.append(torch.stack([*sums, count]))

    def findings(self, known: Audit) -> Found:
        mode = self._context.settings.mode
        total, squares, count = torch.stack(self._sums).sum(0)
        mean = total / count
        spread = (squares / count - mean.square()).clamp(min=0).sqrt()
        height, width = known.images["shape"][1:]
        generator = torch.Generator().manual_seed(self._context.settings.seed)
        shape = (2 * HALF, len(mean), height, width)
        noise = torch.randn(shape, generator=generator) * _wide(spread) + _wide(mean)
        plan = Plan(name=mode, mode=mode)
        names = [site.name for site in known.sites]
        with self._context.bench.open(names) as run:
            first, last = (self._run(run, half, None, names) for half in noise.split(HALF))
            swapped = self._run(run, noise, plan, names)
            zeros = [self._run(run, noise[:1] * 0, each, names) for each in (None, plan)]
            kept = dict(run.not_swappable)
        layers, skips = [], []
        for name in names:
            if why := _why_not(first.get(name)):
                best: Outcome = "fail" if "finite" in why else "pass"
                skips.append(Skip(what=name, why=f"lines: {why}", best_outcome=best, probe="lines"))
            else:
                layers.append(_layer(name, first, last, swapped, zeros))
        return _found(layers, mode, tuple(skips), kept)

    def _run(self, run: Runner, inputs: Tensor, plan: Plan | None, names: Iterable[str]) -> Maps:
        wanted, maps = frozenset(names), Maps()

        def see(call: ConvCall) -> None:
            if call.name in wanted:
                found = MeanMap.of(call.maps)
                maps[call.name] = maps[call.name] + found if call.name in maps else found

        for part in inputs.split(min(HALF, self._context.settings.batch_size)):
            run(part, plan=plan, see=see)
        return maps


def _wide(values: Tensor) -> Tensor:
    return values.float()[:, None, None]


def _why_not(found: MeanMap | None) -> str:
    """Return why a site has no score; empty if it has one."""
    if found is None:
        return "not called with random inputs"
    height, width = found.maps.shape[1:]
    if min(height, width) < LEAST_SIDE:
        return f"map {height}x{width} too small: it has no interior half"
    if not (found.maps.isfinite().all() and found.squares.isfinite().all()):
        return "activations not finite with random inputs"
    return (
        "" if float(found.deviation.median()) > 0 else "random inputs do not change most channels"
    )


def _layer(name: str, first: Maps, last: Maps, swapped: Maps, zeros: Sequence[Maps]) -> LayerLines:
    own = first[name] + last[name]
    deviation = own.deviation
    keep = deviation >= LEAST_DEVIATION * deviation.median()
    deviation = deviation[keep]
    other = swapped[name]

    def line(found: MeanMap) -> Line:
        return strongest(found.mean[keep], deviation)

    return LayerLines(
        site=name,
        channels=len(keep),
        left_out=int((~keep).sum()),
        own=line(own),
        swapped=line(other),
        zero_own=line(zeros[0][name]),
        zero_swapped=line(zeros[1][name]),
        halves=(line(first[name]).score, line(last[name]).score),
        map_own=_cells(own.mean[keep], deviation),
        map_swapped=_cells(other.mean[keep], deviation),
    )


def _cells(mean: Tensor, deviation: Tensor) -> Map:
    """Return the median over channels of |mean - interior| / deviation, at most CELLS a side."""
    middle = interior(mean).mean((1, 2))[:, None, None]
    cells = ((mean - middle).abs() / deviation[:, None, None]).median(0).values
    size = min(cells.shape[0], CELLS), min(cells.shape[1], CELLS)
    small = F.adaptive_max_pool2d(cells[None], size)[0]
    return tuple(tuple(float(f"{value:.3g}") for value in row) for row in small.tolist())


def _found(
    layers: Sequence[LayerLines], mode: str, skips: tuple[Skip, ...], kept: dict[str, str]
) -> Found:
    notes = tuple(f"lines: {site} kept its own padding: {why}" for site, why in kept.items())
    ranked = sorted(layers, key=lambda each: -each.own.score)[:PICTURES]
    slim = tuple(
        each if each in ranked else replace(each, map_own=(), map_swapped=()) for each in layers
    )

    def median(values: Iterable[float]) -> float:
        known = list(values)
        return statistics.median(known) if known else math.nan

    value = median(each.own.score for each in slim)
    findings = LinesFindings(
        mode=mode,
        inputs=2 * HALF,
        layers=slim,
        own=value,
        swapped=median(each.swapped.score for each in slim),
        halves=(median(x.halves[0] for x in slim), median(x.halves[1] for x in slim)),
    )
    sites = {each.site: each.own.score for each in slim}
    measured = Measured(measure="line_artifact", value=value, sites=sites)
    return Found(
        findings=findings if slim else None,
        measures={"line_artifact": measured} if slim else {},
        notes=notes,
        skips=skips,
    )
