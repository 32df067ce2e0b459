"""Observer of the probe ``blind_spots``: a small object at each of 5x5 places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_pan.probes import larger, outputs
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.blind_spots.chosen import Chosen, ChosenImages
from pytest_pan.probes.blind_spots.places import Places, outer
from pytest_pan.probes.blind_spots.records import (
    CELLS,
    LEAST_STIMULI,
    BlindSpotFindings,
    Figure,
    Kind,
    Map,
    Ring,
)
from pytest_pan.probes.blind_spots.scores import CENTRE, Scored, scored
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.outputs import Reading, Task
from pytest_pan.probes.scores import FormCheck, in_form
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import LEAST_UNITS, Interval, Measured
from pytest_pan.stats import intervals

MOST = 32
"""Images that are used: 25 places each."""
RINGS = 8
"""Ranges of the distance to the border."""

_KINDS: dict[Task, Kind] = {"segmentation": "pixels", "detection": "box"}


class BlindSpotObserver(Observer):
    """Makes images small, moves them over an empty canvas, and compares the scores."""

    adds_up = False
    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self._chosen = ChosenImages(context, MOST)
        self._form = FormCheck(self._settings.task)
        self._task: Task = "classification"
        self._problem = ""
        """Why the outputs cannot be read; empty if they can."""
        self._sum = torch.zeros(())
        self._images = 0

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else (ORIGINAL,)

    def output(self, this: Pass, part: Part, output: object) -> None:
        if (reading := self._read(output)) is not None:
            self._form.add(reading)

    def end(self, part: Part) -> None:
        self._chosen.add(part)
        self._sum = self._sum + part.images.double().mean((2, 3)).sum(0).cpu()
        self._images += len(part)

    def _read(self, output: object) -> Reading | None:
        try:
            return outputs.read(output, self._settings.task, self._context.pick)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # may come from a user function; only this probe lacks figures
            self._problem = f"the outputs cannot be read: {error}"
            return None

    def findings(self, known: Audit) -> Found:
        height, width = known.images["shape"][1:]
        stride = larger.stride_of(known)
        places = Places.of((height, width), stride)
        notes, skips, found, used = [], list[Skip](), list[Scored](), list[Chosen]()
        colour = self._sum / self._images
        with self._context.bench.open() as run:
            for each in self._chosen.images:
                canvas = places.stimuli(each.image, colour.to(each.image.dtype))
                one = self._score(run, canvas, places, (height, width))
                if self._problem:
                    return Found(notes=(f"blind_spots: {self._problem}",))
                if isinstance(one, Scored):
                    found.append(one)
                    used.append(each)
                else:
                    what, why = f"image {each.index}", f"{one} (blind_spots)"
                    skips.append(Skip(what=what, why=why, probe="blind_spots"))
        if not found:
            why = f"blind_spots: no object could be scored: {skips[0].why}"
            return Found(notes=(why,), skips=tuple(skips))
        axes = places.rows, places.columns
        if not all(axis.is_whole for axis in axes):
            step = max(axis.step for axis in axes)
            notes.append(
                f"blind_spots: places lie {step} pixels apart, no multiple of the total stride "
                f"{stride}, so that aliasing adds to the differences"
            )
        if len(found) < LEAST_STIMULI:
            notes.append(
                f"blind_spots: {len(found)} objects, at least {LEAST_STIMULI} are needed for "
                "figures that say something"
            )
        known_labels = [each.label for each in used if each.label is not None]
        labels = torch.tensor(known_labels) if len(known_labels) == len(used) else None
        units = torch.tensor([each.unit for each in used])
        result = summarised(found, units, labels, places, _KINDS.get(self._task, "class"))
        return Found(
            findings=result,
            measures={
                name: Measured(measure=name, value=figure.value, interval=figure.interval)
                for name, figure in (
                    ("blind_spot_depth", result.depth),
                    ("border_gap", result.gap),
                )
            },
            notes=tuple(notes),
            skips=tuple(skips),
        )

    def _score(
        self, run: Runner, stimuli: Tensor, places: Places, size: tuple[int, int]
    ) -> Scored | str:
        """Return the scores of one object, or why it has none."""
        readings = []
        for part in stimuli.split(max(1, self._settings.batch_size)):
            if (reading := self._read(run(part))) is None:
                return self._problem
            readings.append(in_form(reading, self._form.form))
        whole = outputs.joined(readings)
        self._task = whole.task
        if not bool(outputs.finite(whole).all()):
            return "outputs not finite"
        try:
            one = scored(whole, places, size)
        except ValueError as error:
            self._problem = str(error)
            return self._problem
        return "no box on the object at any place" if one is None else one


def summarised(
    found: Sequence[Scored], units: Tensor, labels: Tensor | None, places: Places, kind: Kind
) -> BlindSpotFindings:
    """Summarise objects, of sampling units (N,) and, if known, labels (N,)."""
    scores = torch.stack([each.scores for each in found])
    mean = scores.mean(0)
    lowest = int(mean.argmin())
    border = outer()
    gaps = scores[:, border].mean(1) - scores[:, ~border].mean(1)
    beside = scores - scores[:, CENTRE : CENTRE + 1]
    others = [cell for cell in range(CELLS * CELLS) if cell != CENTRE]
    is_enough = len(scores) >= LEAST_STIMULI and len(units.unique()) >= LEAST_UNITS
    depth_ends: Interval | None = None
    if is_enough:
        low, high = intervals.of_least_mean(beside[:, others], units)
        depth_ends = min(low, 0.0), min(high, 0.0)  # the centre is one of the places
    tops = [each.tops for each in found if each.tops is not None]
    accuracy = None
    if labels is not None and len(tops) == len(found):
        accuracy = _rows((torch.stack(tops) == labels[:, None]).double().mean(0))
    return BlindSpotFindings(
        kind=kind,
        stimuli=len(scores),
        side=places.side,
        step=(places.rows.step, places.columns.step),
        scores=_rows(mean),
        lowest=(lowest // CELLS, lowest % CELLS),
        depth=_figure(beside[:, lowest], depth_ends),
        gap=_figure(gaps, intervals.of_signed_mean(gaps, units) if is_enough else None),
        accuracy=accuracy,
        rings=rings(found, places),
    )


def _figure(values: Tensor, ends: Interval | None) -> Figure:
    deviation = float(values.std()) if len(values) > 1 else 0.0
    return Figure(value=float(values.mean()), deviation=deviation, interval=ends)


def _rows(cells: Tensor) -> Map:
    return tuple(map(tuple, cells.unflatten(0, (CELLS, CELLS)).tolist()))


def rings(found: Sequence[Scored], places: Places) -> tuple[Ring, ...]:
    """Return the agreement of pixels by distance to the border of the image; none without pixels.

    Up to half of the objects' shorter side, in :data:`RINGS` ranges.
    """
    agree = [each.agreement for each in found if each.agreement is not None]
    if not agree:
        return ()
    share = torch.stack(agree).double().mean(0)
    height, width = places.side
    image = height + (CELLS - 1) * places.rows.step, width + (CELLS - 1) * places.columns.step
    widest = max(1, min(height, width) // (2 * RINGS))
    sums, counts = torch.zeros(RINGS, dtype=torch.float64), torch.zeros(RINGS, dtype=torch.float64)
    for cell in range(CELLS * CELLS):
        if cell == CENTRE:
            continue
        top, left = places.corner(cell)
        y, x = torch.arange(top, top + height), torch.arange(left, left + width)
        rows, columns = torch.minimum(y, image[0] - 1 - y), torch.minimum(x, image[1] - 1 - x)
        ring = torch.minimum(rows[:, None], columns[None]) // widest
        near = ring < RINGS
        sums.index_add_(0, ring[near], share[cell][near])
        counts.index_add_(0, ring[near], torch.ones_like(share[cell][near]))
    return tuple(
        Ring(
            first=index * widest,
            last=(index + 1) * widest - 1,
            agreement=float(sums[index] / counts[index]),
            pixels=int(counts[index]) * len(agree),
        )
        for index in range(RINGS)
        if counts[index]
    )
