"""Observer of the probe ``ppp``: features with padding less features with true surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.probes import larger
from pytest_pan.probes.observer import Context, Found, Observer, Pass
from pytest_pan.probes.ppp.passes import (
    LEAST_MARGIN,
    Collected,
    collect,
    margin_of,
    with_margin,
)
from pytest_pan.probes.ppp.records import Layer, Map, Pattern, PppFindings
from pytest_pan.probes.ppp.sums import Layerwise, Ppp, layerwise
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Interval, Measured
from pytest_pan.records.plans import Plan
from pytest_pan.stats import subsamples
from pytest_pan.stats.subsamples import GROUPS, Figures

MOST = 64
"""Larger images that are used."""
AT_ONCE = 8
"""Most images in a pass: with their margin they are large."""
PICTURES = 4
"""Layers whose maps the record keeps, the strongest ones."""
CELLS = 56
"""Most rows and columns of a map that the record keeps."""


class PppObserver(Observer):
    """Runs larger images with their surroundings, and cut to the network's input."""

    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self._notes: list[str] = []

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else None

    def findings(self, known: Audit) -> Found:
        channels, height, width = known.images["shape"]
        size, stride = (height, width), larger.stride_of(known)
        wanted = with_margin(size, -(-LEAST_MARGIN // stride) * stride)
        if self._context.large_images is None:
            return Found(notes=(larger.missing("ppp", wanted),))
        with self._context.bench.open(site.name for site in known.sites) as run:
            sizes = larger.sizes(self._context, channels)
            margin = margin_of(size, stride, sizes, LEAST_IMAGES)
            if not margin:
                return Found(notes=(_too_few(sizes, with_margin(size, stride), wanted),))
            window = with_margin(size, margin)
            places = [at for at, each in enumerate(sizes) if larger.fits(each, window)]
            self._say_what_is_used(sizes, window, margin, wanted, len(places))
            places = places[:MOST]
            groups, splits = self._groups(places, known)
            sums = Collected(GROUPS if splits else 1)
            plan = Plan(name=self._settings.mode, mode=self._settings.mode)
            names = [site.name for site in known.sites]
            at_once, done = max(1, min(AT_ONCE, self._settings.batch_size)), 0
            for batch in larger.groups(self._context, set(places), at_once):
                windows = torch.stack([larger.centred(image, window) for _, image in batch])
                these = groups[done : done + len(batch)]
                collect(run, windows, these, margin=margin, sites=names, plan=plan, sums=sums)
                done += len(batch)
            kept = run.not_swappable
        if kept:
            self._notes.append(
                f"ppp: {len(kept)} layers keep their own padding under {self._settings.mode}: "
                + next(f"{site}: {why}" for site, why in kept.items())
            )
        return self._found(sums, groups, names, margin=margin, splits=splits)

    def _say_what_is_used(
        self,
        sizes: Sequence[larger.Size],
        window: larger.Size,
        margin: int,
        wanted: larger.Size,
        fitting: int,
    ) -> None:
        if margin < LEAST_MARGIN:
            self._notes.append(
                f"ppp: the margin is {margin} pixels, because fewer than {LEAST_IMAGES} larger "
                f"images have {wanted[0]}x{wanted[1]}"
            )
        if note := larger.too_small("ppp", sizes, window):
            self._notes.append(note)
        if fitting > MOST:
            self._notes.append(f"ppp: the first {MOST} of {fitting} larger images were used")

    def _groups(self, places: Sequence[int], known: Audit) -> tuple[Tensor, bool]:
        """Return the group of each image for subsamples, and whether there are any: else all 0."""
        units = torch.cat([self._context.large_units.of(at, 1) for at in places])
        distinct, dense = units.unique(return_inverse=True)
        cells = sum(site.channels * site.map[0] * site.map[1] for site in known.sites)
        needed = 2 * GROUPS * cells * torch.float64.itemsize
        splits = len(distinct) >= LEAST_UNITS and needed <= self._settings.memory
        if needed > self._settings.memory:
            self._notes.append(f"ppp: no intervals, which need {needed:,} bytes of memory")
        elif not splits:
            self._notes.append(
                f"ppp: no intervals, because the larger images are of {len(distinct)} groups and "
                f"{LEAST_UNITS} are needed"
            )
        if not splits:
            return torch.zeros(len(places), dtype=torch.long), False
        return subsamples.group_of(dense, self._settings.seed), True

    def _found(
        self, sums: Collected, groups: Tensor, names: Sequence[str], *, margin: int, splits: bool
    ) -> Found:
        counts = torch.bincount(groups, minlength=sums.groups)
        own, swapped = (
            {
                name: layerwise(sums.true[name], apart[name], counts, splits=splits)
                for name in names
                if name in apart and name in sums.true and name not in sums.left_out
            }
            for apart in (sums.own, sums.swapped)
        )
        both = [name for name in names if name in own and name in swapped]
        images = int(counts.sum())
        strongest = sorted(both, key=lambda name: -own[name].whole.mae)[:PICTURES]
        layers = tuple(
            Layer(
                site=name,
                own=_pattern(own[name], keeps_map=name in strongest),
                swapped=_pattern(swapped[name], keeps_map=name in strongest),
            )
            for name in both
        )
        return Found(
            findings=PppFindings(
                margin=margin, images=images, mode=self._settings.mode, layers=layers
            ),
            measures=measured({name: own[name] for name in both}, images),
            notes=tuple(self._notes),
            skips=tuple(
                Skip(what=f"ppp, {site}", why=why, probe="ppp")
                for site, why in sums.left_out.items()
            ),
        )


def measured(layers: Mapping[str, Layerwise], images: int) -> dict[str, Measured]:
    """Return the measures of all layers, with intervals where images are in groups.

    In the mean of ``ppp_snr`` a layer counts -10 log10 N dB at least: what noise alone reaches
    without the correction.
    """
    if not layers:
        return {}
    floor = -10 * math.log10(images)
    figures: dict[str, tuple[Callable[[Ppp], float], float, float]] = {
        "ppp_mae": (lambda each: each.mae, 0.5, 0.0),
        "ppp_snr": (lambda each: max(each.snr, floor), 1.0, floor),
    }
    found = {}
    for name, (figure, power, least) in figures.items():
        sites = layers
        if name == "ppp_snr":
            sites = {site: each for site, each in layers.items() if math.isfinite(each.whole.snr)}
        intervals = {site: _interval([each], figure, power, least) for site, each in sites.items()}
        found[name] = Measured(
            measure=name,
            value=fmean(figure(each.whole) for each in layers.values()),
            sites={site: getattr(each.whole, name[4:]) for site, each in sites.items()},
            interval=_interval(list(layers.values()), figure, power, least),
            intervals={site: ends for site, ends in intervals.items() if ends is not None},
        )
    return found


def _interval(
    layers: Sequence[Layerwise], figure: Callable[[Ppp], float], power: float, least: float
) -> Interval | None:
    """Return the interval of a figure's mean over layers; None if images are in no groups."""
    if not all(each.halves for each in layers):
        return None
    whole, halves, quarters = (
        torch.tensor([[figure(one) for one in part] for part in parts], dtype=torch.float64).mean(0)
        for parts in (
            [(each.whole,) for each in layers],
            [each.halves for each in layers],
            [each.quarters for each in layers],
        )
    )
    low, high = subsamples.interval(Figures(whole[0], halves, quarters), power)
    return max(float(low), least), max(float(high), least)


def _pattern(each: Layerwise, *, keeps_map: bool) -> Pattern:
    below = math.isinf(each.whole.snr)
    cells: Map = ()
    if keeps_map:
        rows, columns = (min(side, CELLS) for side in each.mean.shape)
        small = F.adaptive_avg_pool2d(each.mean[None, None], (rows, columns))[0, 0]
        cells = tuple(tuple(float(f"{value:.3g}") for value in row) for row in small.tolist())
    return Pattern(mae=each.whole.mae, snr=None if below else each.whole.snr, map=cells)


def _too_few(sizes: Sequence[larger.Size], least: larger.Size, wanted: larger.Size) -> str:
    small = sum(not larger.fits(each, least) for each in sizes)
    return (
        f"ppp: {small} of {len(sizes)} larger images are smaller than {least[0]}x{least[1]}; at "
        f"least {LEAST_IMAGES} of this size are needed, and better of {wanted[0]}x{wanted[1]}"
    )
