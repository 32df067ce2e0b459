"""Observer of the probe ``position``: linear read-outs of the position from features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.kept import KeptImages
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.position.records import (
    ALL,
    IMAGE,
    MAIN,
    TARGETS,
    Map,
    PositionFindings,
    Readout,
    Stage,
)
from pytest_pan.probes.position.ridge import FOLDS, Normal, Ridge, fit
from pytest_pan.probes.position.targets import (
    SIDE,
    Agreement,
    agreement,
    patches,
    resized,
    target_maps,
)
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Interval, Measured
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site
from pytest_pan.stats import intervals

MOST = 96
"""Images that are used."""
LEAST = 16
"""Fewest independent images: half of them train, in four folds."""
CHANNELS = 4096
"""Most channels that a read-out uses: its equations take 128 MiB a fold then."""


@dataclass
class _Source:
    """Features that a read-out uses, by image: (D, cells)."""

    name: str
    channels: slice
    """Its part of the features of all stages."""


@dataclass
class _Tested:
    """Agreement with the targets on test images, by read-out."""

    parts: dict[str, list[Agreement]] = field(default_factory=dict)

    def add(self, name: str, found: Agreement) -> None:
        self.parts.setdefault(name, []).append(found)

    def of(self, name: str) -> Agreement:
        parts = self.parts[name]
        return Agreement(
            torch.cat([each.spc for each in parts]),
            torch.cat([each.mae for each in parts]),
            torch.cat([each.constant for each in parts]),
        )


class PositionObserver(Observer):
    """Trains read-outs on half of the images, and tests them on the other half."""

    adds_up = False
    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self._kept = KeptImages(context, MOST)
        self._targets = target_maps().flatten(1)

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else (ORIGINAL,)

    def end(self, part: Part) -> None:
        self._kept.add(part)

    def findings(self, known: Audit) -> Found:
        units, mode = self._kept.units, self._settings.mode
        if len(units.unique()) < LEAST:
            why = f"{len(units.unique())} independent images, at least {LEAST} are needed"
            return Found(notes=(f"position: {why}",))
        chosen, notes = stages(known.sites)
        train, test, folds = split(units, self._settings.seed)
        images = self._kept.images
        with self._context.bench.open(site.name for site in known.sites) as run:
            read = _Reader(run, chosen, self._settings.batch_size)
            plans = {"own": None, mode: Plan(name=mode, mode=mode)}
            tested = {
                padding: self._tested(read, images, train, test, folds, plan)
                for padding, plan in plans.items()
            }
            kept = run.not_swappable
        if kept:
            site, why = next(iter(kept.items()))
            notes.append(f"position: {len(kept)} layers keep their padding: {site}: {why}")
        total = known.images["count"]
        if len(images) < total:
            notes.append(f"position: {len(images)} of {total:,} images were used")
        readouts = [
            _readout(name, padding, found.of(name))
            for padding, (found, _, _) in tested.items()
            for name in found.parts
            if name != IMAGE or padding == "own"
        ]
        black = tested["own"][2]
        return Found(
            findings=PositionFindings(
                mode=mode,
                train=len(train),
                seed=self._settings.seed,
                stages=tuple(
                    Stage(site=site.name, map=site.map, channels=len(channels))
                    for site, channels in chosen
                ),
                readouts=tuple(readouts),
                black=tuple(
                    _readout(ALL, padding, found) for padding, (_, found, _) in tested.items()
                ),
                black_maps=_rows(black),
            ),
            measures=measured(tested["own"][0], tested[mode][0], units[test]),
            notes=tuple(notes),
        )

    def _tested(
        self,
        read: _Reader,
        images: Tensor,
        train: Tensor,
        test: Tensor,
        folds: Tensor,
        plan: Plan | None,
    ) -> tuple[_Tested, Agreement, Tensor]:
        """Return the agreement on test images and on a black image, and the maps for the latter."""
        features, pixels = Normal(self._targets), Normal(self._targets)
        for place, one, image in read(images, train, plan):
            features.add(one, int(folds[place]))
            pixels.add(image, int(folds[place]))
        readers: dict[str, tuple[Ridge, slice]] = {}
        for source in (_Source(ALL, slice(None)), *read.sources):
            sums = [each.part(source.channels) for each in features.folds]
            readers[source.name] = fit(sums), source.channels
        of_image = fit(pixels.folds)
        found = _Tested()
        for _, one, image in read(images, test, plan):
            scaled = features.scaled(one)
            for name, (ridge, channels) in readers.items():
                found.add(name, agreement(ridge(scaled[channels])[None], self._targets))
            found.add(IMAGE, agreement(of_image(pixels.scaled(image))[None], self._targets))
        black = images.amin((0, 2, 3))[None, :, None, None].expand(1, *images.shape[1:])
        (_, dark, _), *_ = read(black.contiguous(), torch.zeros(1, dtype=torch.long), plan)
        maps = readers[ALL][0](features.scaled(dark))
        return found, agreement(maps[None], self._targets), maps


class _Reader:
    """Runs images and gives their features in the targets' cells."""

    def __init__(self, run: Runner, chosen: Sequence[tuple[Site, Tensor]], batch: int) -> None:
        self._run, self._batch = run, batch
        self._chosen = {site.name: channels for site, channels in chosen}
        self.sources: list[_Source] = []
        first = 0
        for name, channels in self._chosen.items():
            self.sources.append(_Source(name, slice(first, first + len(channels))))
            first += len(channels)

    def __call__(self, images: Tensor, places: Tensor, plan: Plan | None):  # type: ignore[no-untyped-def]
        """Yield each image's index in ``places``, features (D, cells) and patches."""
        for part in torch.arange(len(places)).split(self._batch):
            batch, maps = images[places[part]], dict[str, Tensor]()

            def see(call: ConvCall, maps: dict[str, Tensor] = maps) -> None:
                if call.name in self._chosen:
                    channels = self._chosen[call.name].to(call.maps.device)
                    maps[call.name] = call.maps.detach()[:, channels].float()

            self._run(batch, plan=plan, see=see)
            own = patches(batch.float())
            for place, index in enumerate(part.tolist()):
                parts = [resized(maps[name][place : place + 1])[0] for name in self._chosen]
                yield index, torch.cat(parts), own[place].to(parts[0].device)


def stages(sites: Sequence[Site]) -> tuple[list[tuple[Site, Tensor]], list[str]]:
    """Return the last site before each change of map size, with the channels that are used.

    All of them, unless there are more than :data:`CHANNELS`: then evenly spaced ones of each
    stage, which a note says.
    """
    last = [
        site
        for site, following in zip(sites, [*sites[1:], None], strict=True)
        if following is None or following.map != site.map
    ]
    by_size = {site.map: site for site in last if min(site.map) > 1}
    total = sum(site.channels for site in by_size.values())
    share = min(1.0, CHANNELS / total) if total else 1.0
    found = []
    for site in by_size.values():
        count = max(1, int(site.channels * share))
        found.append((site, torch.linspace(0, site.channels - 1, count).round().long()))
    note = f"position: {sum(len(c) for _, c in found):,} of {total:,} channels were used"
    return found, [note] if share < 1 else []


def split(units: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of training and of test images, and the fold of each training image.

    Half of the images train, by the seed; images of one unit stay together.
    """
    distinct, dense = units.unique(return_inverse=True)
    order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed))
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    ranks = rank[dense]
    sizes = torch.bincount(ranks, minlength=len(order)).cumsum(0)
    trains = int((sizes <= (len(units) + 1) // 2).sum())
    train = (ranks < max(trains, 1)).nonzero()[:, 0]
    test = (ranks >= max(trains, 1)).nonzero()[:, 0]
    return train, test, ranks[train] % FOLDS


def _mean(found: Agreement, values: Tensor) -> Tensor:
    """Return the mean over the main targets, by image: (N, T) -> (N,)."""
    return values[:, [TARGETS.index(name) for name in MAIN]].mean(1)


def measured(own: _Tested, swapped: _Tested, units: Tensor) -> dict[str, Measured]:
    """Return the measures, with intervals over test images whose units are given: (N,)."""
    ours, theirs = own.of(ALL), swapped.of(ALL)
    spc = _mean(ours, ours.spc)
    values = {
        "position_spc": spc,
        "position_mae": _mean(ours, ours.mae),
        "position_excess": spc - _mean(theirs, theirs.spc),
    }
    stages = [name for name in own.parts if name not in (ALL, IMAGE)]
    by_stage = {name: float(_mean(own.of(name), own.of(name).spc).mean()) for name in stages}
    return {
        name: Measured(
            measure=name,
            value=float(each.mean()),
            interval=_interval(each, units),
            sites=by_stage if name == "position_spc" else {},
        )
        for name, each in values.items()
    }


def _interval(values: Tensor, units: Tensor) -> Interval | None:
    if len(values) < LEAST_IMAGES or len(units.unique()) < LEAST_UNITS:
        return None
    return intervals.of_signed_mean(values, units)


def _readout(source: str, padding: str, found: Agreement) -> Readout:
    def by_target(values: Tensor) -> Mapping[str, float]:
        return dict(zip(TARGETS, values.double().mean(0).tolist(), strict=True))

    constant = found.constant.sum(0).tolist()
    return Readout(
        source=source,
        padding=padding,
        spc=by_target(found.spc),
        mae=by_target(found.mae),
        constant={name: int(count) for name, count in zip(TARGETS, constant, strict=True)},
        images=len(found.spc),
    )


def _rows(maps: Tensor) -> Mapping[str, Map]:
    cells = maps.cpu().unflatten(1, (SIDE, SIDE))
    return {
        name: tuple(tuple(float(f"{value:.3g}") for value in row) for row in rows.tolist())
        for name, rows in zip(TARGETS, cells, strict=True)
        if name in MAIN
    }
