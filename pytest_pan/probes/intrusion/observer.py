"""Do the neurons that look for padding answer a line of zeros inside the image? (PAN section 5)

The paper warns of it and measures nothing; the definition is this project's own. A line of the
value 0 in the model's *input space*, as its padding is (the mean colour where images are
normalised, not black), is inserted into the image. A PAN that is aware of the top or the bottom
listens to rows, one that is aware of the left or the right to columns. It *fires* if, on a map
line where the zeros can be seen, its responses pooled over images are as distinct from its centre
in the untouched images as a border of a PAN is: ``KS >= theta``, and the one-sided statistic
``>= theta`` in the direction in which it is a PAN on a side of that axis.

Beside them as many random non-PANs of each layer. These have no direction of their own: each is
asked what one PAN of its layer is asked, so both shares answer the same questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes import outputs
from pytest_pan.probes.intrusion.lines import LINES, SIDES_OF, ZeroLine, too_small
from pytest_pan.probes.intrusion.records import Axis, Intrusion, IntrusionFindings
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.outputs import Reading
from pytest_pan.probes.swaps import plans
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import LEAST_IMAGES, Interval, Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.sites import Site
from pytest_pan.stats import intervals, labels
from pytest_pan.stats import ks as statistics
from pytest_pan.stats.odds import Affected

_PASSES = tuple(Pass(inputs=ZeroLine(*line)) for line in LINES)


@dataclass(frozen=True, slots=True)
class _Examined:
    """The neurons of a site that are asked: PANs first, then the random others."""

    site: Site
    channels: Tensor
    """(C,) int."""
    pans: int
    directions: Mapping[Axis, tuple[Tensor, Tensor]]
    """By axis, who listens for high (plus) and who for low (minus) answers: twice (C,) bool."""


@dataclass
class _Line:
    """What gathers about one inserted line while the batches go by."""

    strips: dict[str, Samples] = field(default_factory=dict)
    """By site, the three lines of the map: (N, C, 3, W) or (N, C, H, 3)."""
    flips: int | None = None
    changes: list[Tensor] = field(default_factory=list)
    """Predictions that change, (N,) a batch."""
    affected: Affected = field(default_factory=Affected)
    fired: list[int] = field(default_factory=lambda: [0, 0])
    examined: list[int] = field(default_factory=lambda: [0, 0])
    """Of PANs and of others."""


class IntrusionObserver(Observer):
    """Runs the images with each line of zeros, beside the original pass.

    ``skips`` names images whose outputs are not finite, which count for nothing; ``left_out`` the
    sites whose neurons are not examined, and why. ``held`` counts the bytes of samples in memory:
    beyond the budget no more are taken, so that the share that fires is that of the
    ``sampled_images`` first images, and the change of the outputs that of all.
    """

    adds_up = False

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self.skips: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.images = self.held = self.sampled_images = 0
        self._memory = context.settings.memory
        self._examined: dict[str, _Examined] = {}
        self._clean: dict[str, list[Tensor]] = {}
        self._clean_of_original: dict[str, list[Tensor]] = {}
        self._sampled: list[Tensor] = []
        """Of each part, which images are finite and sampled: (N,) bool."""
        self._lines = {line: _Line() for line in LINES}
        self._is_started = False
        self._begin_part()

    def _begin_part(self) -> None:
        self._readings: dict[str, Reading] = {}
        self._strips: dict[str, dict[str, Tensor]] = {}

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        alone = self._context.processes.count == 1
        if "pans" not in known.findings:
            return (ORIGINAL,) if alone else None
        if self._is_started:
            return ()
        self._is_started = True
        theta, seed = self._settings.theta, self._settings.seed
        self._examined = _choose(known.sites, known.neurons, theta, seed, self._context.device)
        self._has_original = alone and self._context.original.is_complete and self._take_clean()
        return _PASSES if self._has_original else (ORIGINAL, *_PASSES)

    def _take_clean(self) -> bool:
        """Take the maps of the original pass, where they were kept; whether they were."""
        activations = self._context.activations
        if activations.bounded:
            return False
        for name, examined in self._examined.items():
            maps = activations.by_site[name].samples.maps
            self._clean_of_original[name] = [batch[:, examined.channels] for batch in maps]
        return True

    def begin(self, part: Part) -> None:
        self._begin_part()
        size = (part.images.shape[2], part.images.shape[3])
        for name, examined in self._examined.items():
            if why := too_small(examined.site.map, size):
                self.left_out[name] = why
        self._size = size

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        examined = self._examined.get(call.name)
        if examined is None or call.name in self.left_out:
            return
        output = (call.output if call.output.dim() == 4 else call.output[None]).detach()
        if isinstance(this.inputs, ZeroLine):
            output = this.inputs.strip(output, self._size)
        strips = self._strips.setdefault(this.name, {})
        strips[call.name] = output[:, examined.channels].contiguous()

    def output(self, this: Pass, part: Part, output: object) -> None:
        if not self._is_started:
            self._context.original.keep(part.first, len(part), output)
            return
        self._readings[this.name] = outputs.read(output, self._settings.task, self._context.pick)

    def end(self, part: Part) -> None:
        if not self._is_started:
            return
        if self._has_original:
            self._readings[ORIGINAL.name] = self._context.original.take(part.first, len(part))
        names = [ORIGINAL.name, *(this.name for this in _PASSES)]
        keep, named = outputs.finite_in_all({name: self._readings[name] for name in names})
        self.skips |= {f"image {part.first + place}": why for place, why in named.items()}
        has_room = self.held < self._memory
        self._sampled.append(keep & has_room)
        self.images += int(keep.sum())
        self.sampled_images += int(keep.sum()) if has_room else 0
        if not keep.any():
            return
        if has_room:
            self._sample(keep)
        before = outputs.select(self._readings[ORIGINAL.name], keep)
        for this, line in zip(_PASSES, self._lines.values(), strict=True):
            _compare(line, before, outputs.select(self._readings[this.name], keep))

    def _sample(self, keep: Tensor) -> None:
        """Keep what the examined neurons gave for the images that are to be kept: (N,) bool."""
        for name, maps in self._strips.get(ORIGINAL.name, {}).items():
            kept = _of_images(maps, keep)
            self._clean.setdefault(name, []).append(kept)
            self.held += kept.nbytes
        if self._has_original:
            for batches in self._clean_of_original.values():
                self.held += int(keep.sum()) * batches[0][0].nbytes if batches else 0
        for this, line in zip(_PASSES, self._lines.values(), strict=True):
            for name, strips in self._strips.get(this.name, {}).items():
                samples = line.strips.setdefault(name, Samples(self._examined[name].site))
                self.held += samples.add(_of_images(strips, keep), owned=True)

    def _clean_samples(self, name: str) -> Samples | None:
        """The site's maps in the original pass, of the sampled images."""
        samples = Samples(self._examined[name].site)
        samples.maps = self._clean.get(name, [])
        if self._has_original and self._clean_of_original.get(name):
            whole = torch.cat(self._clean_of_original[name])
            samples.maps = [_of_images(whole, torch.cat(self._sampled))]
        return samples if samples.maps and len(samples.maps[0]) else None

    def findings(self, known: Audit) -> Found:
        lines = self.lines()
        flips = measured(lines, self.interval())
        skips = {**self.skips, **{f"intrusion, {k}": v for k, v in self.left_out.items()}}
        return Found(
            findings=IntrusionFindings(lines),
            measures={each.measure: each for each in flips},
            notes=self.notes,
            skips=tuple(Skip(what=what, why=why) for what, why in skips.items()),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Says so where the share that fires is that of a part of the images."""
        if self.sampled_images == self.images:
            return ()
        part = f"the first {self.sampled_images} of {self.images} images"
        return (
            f"which neurons fire on a line of zeros is told from {part}: more do not fit in memory",
        )

    def lines(self) -> tuple[Intrusion, ...]:
        """Return what each line did, in the order of ``LINES``."""
        for line in self._lines.values():
            line.fired, line.examined = [0, 0], [0, 0]
        for name, examined in self._examined.items():
            clean = None if name in self.left_out else self._clean_samples(name)
            if clean is not None:
                self._count(examined, clean)
        return tuple(
            Intrusion(
                axis=axis,
                position=position,
                pans_fired=_share(line.fired[0], line.examined[0]),
                others_fired=_share(line.fired[1], line.examined[1]),
                prediction_flips=line.flips,
                sample_influence=line.affected.quantile(0.99),
                images=self.images,
            )
            for (axis, position), line in self._lines.items()
        )

    def interval(self) -> Interval | None:
        """Of ``intrusion_flips``; None where images are few or have no predictions."""
        changes = [torch.cat(line.changes) for line in self._lines.values() if line.changes]
        if self.images < LEAST_IMAGES or not changes:
            return None
        return intervals.of_largest_sum(torch.stack(changes), seed=self._settings.seed)

    def _count(self, examined: _Examined, clean: Samples) -> None:
        """Who of a site fires, at every line: one sort of its centre serves them all."""
        centre = statistics.sort_rows(clean.centre(), in_place=True)
        for (axis, _), line in self._lines.items():
            plus, minus = examined.directions[axis]
            strip = line.strips.get(examined.site.name)
            if strip is None:
                continue
            side = SIDES_OF[axis][0]
            rows = [statistics.sort_rows(strip.line(side, place)) for place in range(3)]
            good = torch.stack([statistics.finite_rows(r) for r in [*rows, centre]]).all(0)
            if not good.all():
                self.left_out[f"{examined.site.name} ({int((~good).sum())} channels)"] = (
                    f"activations not finite with a zero {axis}"
                )
            fires = _fires(
                statistics.sorted_statistics(rows, centre), plus, minus, self._settings.theta
            )
            for group, part in enumerate((slice(examined.pans), slice(examined.pans, None))):
                listens = ((plus | minus) & good)[part]
                line.examined[group] += int(listens.sum())
                line.fired[group] += int((fires[part] & listens).sum())


def measured(found: Iterable[Intrusion], interval: Interval | None = None) -> list[Measured]:
    """``intrusion_flips``, the most predictions that one line changes; none without predictions."""
    flips = [each.prediction_flips for each in found if each.prediction_flips is not None]
    if not flips:
        return []
    return [Measured(measure="intrusion_flips", value=float(max(flips)), interval=interval)]


def _choose(
    sites: Sequence[Site],
    neurons: Sequence[Neuron],
    theta: float,
    seed: int,
    device: torch.device,
) -> dict[str, _Examined]:
    """By site its PANs, and the non-PANs that the first RAND plan of this seed would swap."""
    _, drawn, _ = plans(sites, neurons, mode="reflect", draws=1, seed=seed)
    chosen = {}
    for site in sites:
        pans = [neuron for neuron in neurons if neuron.site == site.name]
        if not pans:
            continue
        others = (drawn.channels or {})[site.name]
        paired = [*pans, *pans[: len(others)]]
        channels = [*(pan.channel for pan in pans), *others]
        chosen[site.name] = _Examined(
            site,
            torch.tensor(channels, device=device),
            len(pans),
            {axis: _directions(paired, axis, theta, device) for axis in SIDES_OF},
        )
    return chosen


def _directions(
    pans: Sequence[Neuron], axis: Axis, theta: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which of the PANs are so on a side of this axis by high, and by low values: twice (C,)."""
    sides = [[side for side in SIDES_OF[axis] if side in str(pan.type)] for pan in pans]
    plus = [any(pan.ks_plus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    minus = [any(pan.ks_minus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    return torch.tensor(plus, device=device), torch.tensor(minus, device=device)


def _of_images(maps: Tensor, keep: Tensor) -> Tensor:
    """Return the maps of some images: keep (N,) bool. All maps where the model looks at an image
    more than once, so that they are not one an image.
    """
    return maps[keep.to(maps.device)] if len(maps) == len(keep) else maps


def _fires(ks: statistics.KS, plus: Tensor, minus: Tensor, theta: float) -> Tensor:
    """Who fires on at least one of the lines: statistics (3, C), directions (C,) -> (C,) bool."""
    beyond = ((ks.plus >= theta) & plus) | ((ks.minus >= theta) & minus)
    return (labels.edge_detectors(ks, theta) & beyond).any(0)


def _compare(line: _Line, before: Reading, after: Reading) -> None:
    changed = outputs.flips(before, after)
    if changed is not None:
        line.flips = (line.flips or 0) + int(changed.sum())
        line.changes.append(changed.cpu())
    for distance in outputs.distances(before, after).tolist():
        line.affected.add(len(line.affected.distances), distance, None)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
