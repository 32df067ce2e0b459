"""Observer of the probe ``shift``: top classes of images and of the same images, moved.

Convolutions with stride keep a shift by the total stride, but for their padding. So a roll by the
total stride under the network's own padding shows what the border does, with the seam that the
roll makes; a roll by random offsets with every padding circular shows aliasing alone. Where layers
are uneven, images are also resized to the nearest size at which none is. These definitions are this
project's; the share of equal top classes is that of Zhang (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_pan.probes import larger, outputs
from pytest_pan.probes.accuracy import correct
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.outputs import Reading
from pytest_pan.probes.scores import in_form
from pytest_pan.probes.shift.records import Consistency, Kind, ShiftFindings
from pytest_pan.probes.shift.rolls import RandomRoll, Resized, Roll
from pytest_pan.probes.shift.windows import REACH, compare
from pytest_pan.probes.uneven.records import UnevenFindings
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Measured
from pytest_pan.records.plans import Plan
from pytest_pan.stats import intervals

_CIRCULAR = Plan(name="circular", mode="circular")
_TASKS = ("classification", "multilabel")
NO_CLASSES = "shift: the outputs have no class for each image, so no consistency was measured"


class ShiftObserver(Observer):
    """Compares the top classes of rolled images to those of the images themselves."""

    adds_up = False
    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self._stride = 1
        self._random = RandomRoll(1, self._settings.seed)
        self._is_started = self._has_original = False
        self._problem = ""
        """Why nothing can be measured; empty if it can."""
        self._not_circular: dict[str, str] = {}
        self._not_finite: dict[str, str] = {}
        self._pairs: dict[Kind, tuple[Pass, Pass]] = {}
        """Passes to compare, by what they show."""
        self._even_size: tuple[int, int] | None = None
        self._hits: list[tuple[Tensor, Tensor]] = []
        """Which predictions are right, of the images and of the resized ones."""
        self._same: dict[Kind, list[Tensor]] = {}
        """Whether the top class stays, (N,) bool for each part."""
        self._units: list[Tensor] = []
        self._readings: dict[str, Reading] = {}

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        is_single = self._context.processes.count == 1
        if "pans" not in known.findings:
            return (ORIGINAL,) if is_single else None
        if self._is_started or self._problem:
            return ()
        self._is_started = True
        self._stride = larger.stride_of(known)
        self._random = RandomRoll(self._stride, self._settings.seed)
        self._pairs = {
            "roll": (ORIGINAL, Pass(inputs=Roll(self._stride))),
            "circular roll": (Pass(plan=_CIRCULAR), Pass(inputs=self._random, plan=_CIRCULAR)),
        }
        uneven = known.findings.get("uneven")
        if isinstance(uneven, UnevenFindings) and uneven.nearest is not None:
            self._even_size = uneven.nearest
            self._pairs["resize"] = ORIGINAL, Pass(inputs=Resized(uneven.nearest))
        self._same = {kind: [] for kind in self._pairs}
        self._has_original = is_single and self._context.original.is_complete
        passes = dict.fromkeys(each for pair in self._pairs.values() for each in pair)
        return [each for each in passes if each != ORIGINAL or not self._has_original]

    def begin(self, part: Part) -> None:
        self._readings = {}
        self._random.first = part.first

    def keep_padding(self, this: Pass, site: str, why: str) -> None:
        self._not_circular[site] = why

    def output(self, this: Pass, part: Part, output: object) -> None:
        original = self._context.original
        if not self._is_started:
            original.keep(part.first, len(part), output)
        if self._problem:
            return
        try:
            reading = outputs.read(output, self._settings.task, self._context.pick)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # may come from a user function; only this probe lacks figures
            self._problem = f"shift: the outputs cannot be read: {error}"
            return
        if reading.classes is None or reading.task not in _TASKS:
            self._problem = NO_CLASSES
        self._readings[this.name] = in_form(reading, original.scores.form)

    def end(self, part: Part) -> None:
        if not self._is_started or self._problem:
            return
        original = self._context.original
        if self._has_original:
            before = original.take(part.first, len(part))
            self._readings[ORIGINAL.name] = in_form(before, original.scores.form)
        keep, reasons = outputs.finite_in_all(self._readings)
        self._not_finite |= {f"image {part.first + at}": why for at, why in reasons.items()}
        found = {name: outputs.select(each, keep) for name, each in self._readings.items()}
        for kind, (one, other) in self._pairs.items():
            self._same[kind].append(stays(found[one.name], found[other.name]))
            labels = None if part.labels is None else part.labels[keep.to(part.labels.device)]
            hits = [correct(found[each.name], labels) for each in (one, other)]
            if kind == "resize" and hits[0] is not None and hits[1] is not None:
                self._hits.append((hits[0], hits[1]))
        self._units.append(self._context.units.of(part.first, len(part))[keep])

    def findings(self, known: Audit) -> Found:
        notes = [self._problem] if self._problem else []
        found = [] if self._problem else self._rolls(notes)
        change = None
        if not self._problem:
            change = self._shifts(known, found, notes)
        named = {"roll": "roll_consistency", "shift": "shift_consistency"}
        return Found(
            findings=ShiftFindings(
                stride=self._stride,
                found=tuple(found),
                pixel_change=change,
                even_size=self._even_size,
                accuracy=self._accuracy(),
            ),
            measures={
                named[each.kind]: Measured(
                    measure=named[each.kind], value=each.share, interval=each.interval
                )
                for each in found
                if each.kind in named
            },
            notes=tuple(notes),
            skips=tuple(
                Skip(what=what, why=why, probe="shift") for what, why in self._not_finite.items()
            ),
        )

    def _accuracy(self) -> tuple[float, float] | None:
        """Return the accuracy on the images and on the resized ones; None if none has a label."""
        if not self._hits:
            return None
        before, after = (torch.cat(each).double() for each in zip(*self._hits, strict=True))
        return (float(before.mean()), float(after.mean())) if len(before) else None

    def _rolls(self, notes: list[str]) -> list[Consistency]:
        """Return what rolls showed, and add to the notes what they could not."""
        units = torch.cat(self._units)
        found = []
        for kind, parts in self._same.items():
            if kind == "circular roll" and self._not_circular:
                site, why = next(iter(self._not_circular.items()))
                notes.append(
                    f"shift: no rolls with circular padding, because {len(self._not_circular)} "
                    f"layers keep their own: {site}: {why}"
                )
            elif len(units):
                found.append(consistency(kind, torch.cat(parts), units))
        return found

    def _shifts(self, known: Audit, found: list[Consistency], notes: list[str]) -> float | None:
        """Compare windows of the larger images; return the mean change under one pixel."""
        channels, height, width = known.images["shape"]
        least = (height + REACH, width + REACH)
        if self._context.large_images is None:
            notes.append(larger.missing("shift", least))
            return None
        with self._context.bench.open() as run:
            sizes = larger.sizes(self._context, channels)
            if note := larger.too_small("shift", sizes, least):
                notes.append(note)
            places = [at for at, size in enumerate(sizes) if larger.fits(size, least)]
            shifted = compare(self._context, run, places, (height, width))
        self._not_finite |= {
            f"larger image {at}": "outputs not finite (windows)" for at in shifted.not_finite
        }
        if not shifted.places:
            return None
        units = torch.cat([self._context.large_units.of(at, 1) for at in shifted.places])
        found.append(consistency("shift", torch.stack(shifted.same), units))
        return float(torch.stack(shifted.changes).mean())


def stays(before: Reading, after: Reading) -> Tensor:
    """Return whether each image keeps its top class, or all its decisions: (N,) bool."""
    changed = outputs.flips(before, after)
    if changed is None:
        raise ValueError("outputs without predictions")
    return changed == 0


def consistency(kind: Kind, same: Tensor, units: Tensor) -> Consistency:
    """Summarise pairs: whether each has the same top class, (N,) or (N, pairs of an image), and the
    unit of sampling of each image (N,).
    """
    pairs = same.reshape(len(units), -1)
    count = len(units.unique())
    of_pairs = units.repeat_interleave(pairs.shape[1])
    is_enough = len(units) >= LEAST_IMAGES and count >= LEAST_UNITS
    return Consistency(
        kind=kind,
        share=float(pairs.double().mean()),
        pairs=pairs.numel(),
        images=len(units),
        interval=intervals.of_share(pairs.flatten(), of_pairs) if is_enough else None,
    )
