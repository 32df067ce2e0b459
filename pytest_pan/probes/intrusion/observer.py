"""Observer of the probe ``intrusion``: responses to a line of zeros (PAN section 5).

The paper warns of such lines but measures nothing; the definition is this project's. A line of
zeros in the model's *input space* is inserted into the image. Like zero padding, it has the mean
colour if images are normalised, not black. Rows are tested on PANs of the top or bottom border,
columns on PANs of the left or right border. A PAN *fires* if, on a map line that can see the zeros,
its responses pooled over images differ from its centre in the original images as a PAN's border
must: ``KS >= theta``, and the one-sided statistic ``>= theta`` in the direction in which it is a
PAN on a side of that axis.

As a control, the same number of random non-PANs of each layer is tested. They have no direction of
their own, so each is tested in the direction of one PAN of its layer.
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
from pytest_pan.probes.scores import in_form
from pytest_pan.probes.swaps import plans
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Interval, Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.sites import Site
from pytest_pan.stats import intervals, labels
from pytest_pan.stats import ks as statistics
from pytest_pan.stats.odds import Affected

_PASSES = tuple(Pass(inputs=ZeroLine(*line)) for line in LINES)


@dataclass(frozen=True, slots=True)
class _Examined:
    """Examined neurons of a site: PANs first, then the random non-PANs."""

    site: Site
    channels: Tensor
    """(C,) int."""
    pans: int
    """Number of PANs."""
    directions: Mapping[Axis, tuple[Tensor, Tensor]]
    """By axis, which neurons are tested for high (plus) and low (minus) values: (C,) bool twice."""


@dataclass
class _LineCounters:
    """Counters of one inserted line, updated batch by batch."""

    strips: dict[str, Samples] = field(default_factory=dict)
    """Three lines of the map, by site: (N, C, 3, W) or (N, C, H, 3)."""
    flips: int | None = None
    changes: list[Tensor] = field(default_factory=list)
    """Changed predictions per image, (N,) for each batch."""
    affected: Affected = field(default_factory=Affected)
    fired: list[int] = field(default_factory=lambda: [0, 0])
    """Numbers of PANs and of non-PANs that fired."""
    examined: list[int] = field(default_factory=lambda: [0, 0])
    """Numbers of PANs and of non-PANs that were tested."""


class IntrusionObserver(Observer):
    """Compares passes over images with an inserted line of zeros to the original pass.

    ``skips`` lists images without finite outputs, which are ignored. ``left_out`` lists sites whose
    neurons are not examined, with the reason. ``held`` is the number of bytes of samples in memory:
    once it reaches the budget, no more are kept. The fraction that fires then refers to the first
    ``sampled_images`` images, the change of the outputs to all images.
    """

    adds_up = False

    def __init__(self, context: Context) -> None:
        self._context, self._settings = context, context.settings
        self.skips: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.images = self.held = self.sampled_images = 0
        self._memory = context.settings.memory
        self._examined: dict[str, _Examined] = {}
        self._rerun_maps: dict[str, list[Tensor]] = {}
        self._kept_maps: dict[str, list[Tensor]] = {}
        self._sampled: list[Tensor] = []
        """Which images are finite and sampled, (N,) bool for each part."""
        self._units: list[Tensor] = []
        """Unit of sampling of each finite image, for each part."""
        self._lines = {line: _LineCounters() for line in LINES}
        self._is_started = False
        self._begin_part()

    def _begin_part(self) -> None:
        self._readings: dict[str, Reading] = {}
        self._strips: dict[str, dict[str, Tensor]] = {}

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        is_single = self._context.processes.count == 1
        if "pans" not in known.findings:
            return (ORIGINAL,) if is_single else None
        if self._is_started:
            return ()
        self._is_started = True
        theta, seed = self._settings.theta, self._settings.seed
        device, original = self._context.device, self._context.original
        self._examined = _choose_neurons(known.sites, known.neurons, theta, seed, device)
        self._has_original = is_single and original.is_complete and self._take_activations()
        return _PASSES if self._has_original else (ORIGINAL, *_PASSES)

    def _take_activations(self) -> bool:
        """Copy the maps kept from the original pass; return whether there were any."""
        activations = self._context.activations
        if activations.bounded:
            return False
        for name, examined in self._examined.items():
            maps = activations.by_site[name].samples.maps
            self._kept_maps[name] = [batch[:, examined.channels] for batch in maps]
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
        output = call.maps.detach()
        if isinstance(this.inputs, ZeroLine):
            output = this.inputs.strip(output, self._size)
        strips = self._strips.setdefault(this.name, {})
        strips[call.name] = output[:, examined.channels].contiguous()

    def output(self, this: Pass, part: Part, output: object) -> None:
        if not self._is_started:
            self._context.original.keep(part.first, len(part), output)
            return
        reading = outputs.read(output, self._settings.task, self._context.pick)
        self._readings[this.name] = in_form(reading, self._context.original.scores.form)

    def end(self, part: Part) -> None:
        if not self._is_started:
            return
        if self._has_original:
            original = self._context.original
            before = original.take(part.first, len(part))
            self._readings[ORIGINAL.name] = in_form(before, original.scores.form)
        names = [ORIGINAL.name, *(this.name for this in _PASSES)]
        keep, reasons = outputs.finite_in_all({name: self._readings[name] for name in names})
        self.skips |= {f"image {part.first + place}": why for place, why in reasons.items()}
        has_room = self.held < self._memory
        self._sampled.append(keep & has_room)
        self.images += int(keep.sum())
        self.sampled_images += int(keep.sum()) if has_room else 0
        if not keep.any():
            return
        self._units.append(self._context.units.of(part.first, len(part))[keep])
        if has_room:
            self._sample(keep)
        before = outputs.select(self._readings[ORIGINAL.name], keep)
        for this, line in zip(_PASSES, self._lines.values(), strict=True):
            _compare(line, before, outputs.select(self._readings[this.name], keep))

    def _sample(self, keep: Tensor) -> None:
        """Store the examined neurons' activations on the images where ``keep`` (N,) is true."""
        for name, maps in self._strips.get(ORIGINAL.name, {}).items():
            kept = _select_images(maps, keep)
            self._rerun_maps.setdefault(name, []).append(kept)
            self.held += kept.nbytes
        if self._has_original:
            for batches in self._kept_maps.values():
                self.held += int(keep.sum()) * batches[0][0].nbytes if batches else 0
        for this, line in zip(_PASSES, self._lines.values(), strict=True):
            for name, strips in self._strips.get(this.name, {}).items():
                samples = line.strips.setdefault(name, Samples(self._examined[name].site))
                self.held += samples.add(_select_images(strips, keep), owned=True)

    def _original_samples(self, name: str) -> Samples | None:
        """Return the site's original maps of the sampled images; None if there are none."""
        samples = Samples(self._examined[name].site)
        samples.maps = self._rerun_maps.get(name, [])
        if self._has_original and self._kept_maps.get(name):
            whole = torch.cat(self._kept_maps[name])
            samples.maps = [_select_images(whole, torch.cat(self._sampled))]
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
        """Note if the fraction that fires refers to part of the images only."""
        if self.sampled_images == self.images:
            return ()
        part = f"the first {self.sampled_images} of {self.images} images"
        return (
            f"responses to a line of zeros were measured on {part}: the rest do not fit in memory",
        )

    def lines(self) -> tuple[Intrusion, ...]:
        """Return the effect of each line, in the order of ``LINES``."""
        for line in self._lines.values():
            line.fired, line.examined = [0, 0], [0, 0]
        for name, examined in self._examined.items():
            original = None if name in self.left_out else self._original_samples(name)
            if original is not None:
                self._count_fired(examined, original)
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
        """Return the interval of ``intrusion_flips``; None if there are too few images."""
        changes = [torch.cat(line.changes) for line in self._lines.values() if line.changes]
        if self.images < LEAST_IMAGES or not changes:
            return None
        units = torch.cat(self._units)
        if len(units.unique()) < LEAST_UNITS:
            return None
        return intervals.of_largest_sum(torch.stack(changes), units, seed=self._settings.seed)

    def _count_fired(self, examined: _Examined, original: Samples) -> None:
        """Count the neurons of a site that fire at each line; the centre is sorted only once."""
        centre = statistics.sort_rows(original.centre(), in_place=True)
        for (axis, _), line in self._lines.items():
            plus, minus = examined.directions[axis]
            strip = line.strips.get(examined.site.name)
            if strip is None:
                continue
            side = SIDES_OF[axis][0]
            rows = [statistics.sort_rows(strip.line(side, place)) for place in range(3)]
            is_finite = torch.stack([statistics.finite_rows(r) for r in [*rows, centre]]).all(0)
            if not is_finite.all():
                self.left_out[f"{examined.site.name} ({int((~is_finite).sum())} channels)"] = (
                    f"activations not finite with a zero {axis}"
                )
            fires = _fires(
                statistics.sorted_statistics(rows, centre), plus, minus, self._settings.theta
            )
            for group, part in enumerate((slice(examined.pans), slice(examined.pans, None))):
                is_tested = ((plus | minus) & is_finite)[part]
                line.examined[group] += int(is_tested.sum())
                line.fired[group] += int((fires[part] & is_tested).sum())


def measured(found: Iterable[Intrusion], interval: Interval | None = None) -> list[Measured]:
    """Return ``intrusion_flips``, the most flips by one line; empty without predictions."""
    flips = [each.prediction_flips for each in found if each.prediction_flips is not None]
    if not flips:
        return []
    return [Measured(measure="intrusion_flips", value=float(max(flips)), interval=interval)]


def _choose_neurons(
    sites: Sequence[Site],
    neurons: Sequence[Neuron],
    theta: float,
    seed: int,
    device: torch.device,
) -> dict[str, _Examined]:
    """Choose each site's PANs, and the non-PANs in the first RAND plan of this seed."""
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
    """Return which PANs have high, and which low, values on a side of this axis: (C,) twice."""
    sides = [[side for side in SIDES_OF[axis] if side in str(pan.type)] for pan in pans]
    plus = [any(pan.ks_plus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    minus = [any(pan.ks_minus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    return torch.tensor(plus, device=device), torch.tensor(minus, device=device)


def _select_images(maps: Tensor, keep: Tensor) -> Tensor:
    """Return the maps of the images where ``keep`` (N,) is true.

    Return all maps if the model runs the layer several times per image.
    """
    return maps[keep.to(maps.device)] if len(maps) == len(keep) else maps


def _fires(ks: statistics.KS, plus: Tensor, minus: Tensor, theta: float) -> Tensor:
    """Return which neurons fire on any line: statistics (3, C), directions (C,) -> (C,) bool."""
    beyond = ((ks.plus >= theta) & plus) | ((ks.minus >= theta) & minus)
    return (labels.edge_detectors(ks, theta) & beyond).any(0)


def _compare(line: _LineCounters, before: Reading, after: Reading) -> None:
    changed = outputs.flips(before, after)
    if changed is not None:
        line.flips = (line.flips or 0) + int(changed.sum())
        line.changes.append(changed.cpu())
    for distance in outputs.distances(before, after).tolist():
        line.affected.add(len(line.affected.distances), distance, None)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
