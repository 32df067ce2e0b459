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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pytest_pan.convergence import LEAST_IMAGES, Interval
from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.plans import Axis, Intrusion
from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import Pick, Reading
from pytest_pan.probes.swaps import plans, run
from pytest_pan.records import Measured, Neuron, Site
from pytest_pan.stats import intervals, labels
from pytest_pan.stats import ks as statistics
from pytest_pan.stats.odds import Affected

POSITIONS = (0.25, 0.5, 0.75)
_SIDES: dict[Axis, str] = {"row": "TB", "column": "LR"}
_DIMS: dict[Axis, int] = {"row": 2, "column": 3}
LINES: tuple[tuple[Axis, float], ...] = tuple((axis, at) for axis in _SIDES for at in POSITIONS)
"""Every line that is tried, in the order of the findings."""


def insert(images: Tensor, axis: Axis, position: float) -> Tensor:
    """Images with a line of zeros put in: (N, C, H, W) -> (N, C, H, W).

    The line is *inserted*, nothing is overwritten: it takes the place ``floor(position * size)``,
    what was there and beyond moves on by one, and the last line drops out, so the size stays.
    """
    dim = _DIMS[axis]
    size = images.shape[dim]
    at = int(position * size)
    before, after = images.narrow(dim, 0, at), images.narrow(dim, at, size - at - 1)
    return torch.cat([before, torch.zeros_like(images.narrow(dim, 0, 1)), after], dim)


def _first_line(position: float, size: int, map: int) -> int:
    """The first of the three map lines in which the inserted one is looked for.

    The middle one lies at the same share of the map as the line does of the image.
    """
    return int(position * size) * map // size - 1


def _too_small(map: Sequence[int], image: Sequence[int]) -> str:
    """Why a map has no room for the lines; empty if it has. Both (H, W).

    On a border line a PAN fires whatever is inside the image; and a site is asked at all positions
    or at none, so that the shares of all of them are of the same neurons.
    """
    for axis, position in LINES:
        dim = _DIMS[axis] - 2
        first = _first_line(position, image[dim], map[dim])
        if first < 1 or first + 2 > map[dim] - 2:
            return f"map {map[0]}x{map[1]} too small: a line inside it lies beside its border"
    return ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The neurons of a site that are asked: PANs first, then the random others."""

    site: Site
    channels: Tensor
    """(C,) int."""
    pans: int
    hears: Mapping[Axis, tuple[Tensor, Tensor]]
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
    asked: list[int] = field(default_factory=lambda: [0, 0])
    """Of PANs and of others."""


class IntrusionProbe:
    """Runs the images as they are and with each line of zeros; :meth:`findings` at the end.

    ``skips`` names samples whose outputs are not finite, which count for nothing; ``left_out``
    the sites that are not asked, and why. ``held`` is the number of bytes of samples in memory:
    beyond ``memory`` no more are taken, so that who fires is told from the ``heard`` first images,
    and what happens to the outputs from all of them.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        neurons: Sequence[Neuron],
        *,
        theta: float,
        seed: int,
        device: torch.device,
        task: str = "auto",
        pick: Pick | None = None,
        memory: int = 4 << 30,
    ) -> None:
        self.skips: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.images = self.held = self.heard = 0
        self._memory, self._seed = memory, seed
        self._theta, self._task, self._pick = theta, task, pick
        self._asked = _whom_to_ask(sites, neurons, theta, seed, device)
        self._clean: dict[str, Samples] = {}
        self._lines = {line: _Line() for line in LINES}
        self._seen = 0

    def add(self, model: nn.Module, images: Tensor) -> None:
        """Takes one batch, images (N, C, H, W) on the model's device: seven forward passes."""
        size = (images.shape[2], images.shape[3])
        self._leave_out(size)
        before, clean = self._look(model, images, lambda output: output)
        seen = []
        for axis, position in LINES:
            strip = _strip(axis, position, size)
            seen.append(self._look(model, insert(images, axis, position), strip))
        names = [f"zero {axis} at {position}" for axis, position in LINES]
        after = {name: reading for name, (reading, _) in zip(names, seen, strict=True)}
        keep, named = outputs.finite_in_all({"original": before, **after})
        self.skips |= {f"image {self._seen + place}": why for place, why in named.items()}
        self._seen += len(keep)
        if not keep.any():
            return
        self.images += int(keep.sum())
        room = self.held < self._memory
        self.heard += int(keep.sum()) if room else 0
        if room:
            self._keep(self._clean, clean, keep)
        before = outputs.select(before, keep)
        for line, (reading, strips) in zip(self._lines.values(), seen, strict=True):
            if room:
                self._keep(line.strips, strips, keep)
            _compare(line, before, outputs.select(reading, keep))

    @property
    def notes(self) -> tuple[str, ...]:
        """Says so where who fires was told from a part of the images."""
        if self.heard == self.images:
            return ()
        part = f"the first {self.heard} of {self.images} images"
        return (f"who fires on a line of zeros is told from {part}: more do not fit in memory",)

    def _leave_out(self, size: tuple[int, int]) -> None:
        for name, asked in self._asked.items():
            if why := _too_small(asked.site.map, size):
                self.left_out[name] = why

    def _look(
        self, model: nn.Module, images: Tensor, part: Callable[[Tensor], Tensor]
    ) -> tuple[Reading, dict[str, Tensor]]:
        """One forward pass: its outputs, and by site a part of the chosen maps (N, C, ...)."""
        caught: dict[str, Tensor] = {}

        def see(call: ConvCall) -> None:
            asked = self._asked.get(call.name)
            if asked is not None and call.name not in self.left_out:
                output = call.output if call.output.dim() == 4 else call.output[None]
                caught[call.name] = part(output.detach())[:, asked.channels].contiguous()

        return outputs.read(run(model, images, see), self._task, self._pick), caught

    def _keep(self, where: dict[str, Samples], maps: Mapping[str, Tensor], keep: Tensor) -> None:
        for name, batch in maps.items():
            if len(batch) == len(keep):  # a model may look at each image more than once
                batch = batch[keep.to(batch.device)]
            samples = where.setdefault(name, Samples(self._asked[name].site))
            self.held += samples.add(batch, owned=True)

    def findings(self) -> tuple[Intrusion, ...]:
        """What each line did, in the order of ``LINES``."""
        for line in self._lines.values():
            line.fired, line.asked = [0, 0], [0, 0]
        for name, clean in self._clean.items():
            if name not in self.left_out:
                self._count(self._asked[name], clean)
        return tuple(
            Intrusion(
                axis=axis,
                position=position,
                pans_fired=_share(line.fired[0], line.asked[0]),
                others_fired=_share(line.fired[1], line.asked[1]),
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
        return intervals.of_largest_sum(torch.stack(changes), seed=self._seed)

    def _count(self, asked: _Asked, clean: Samples) -> None:
        """Who of a site fires, at every line: one sort of its centre serves them all."""
        centre = statistics.sort_rows(clean.centre(), in_place=True)
        for (axis, _), line in self._lines.items():
            plus, minus = asked.hears[axis]
            strip = line.strips[asked.site.name]
            side = _SIDES[axis][0]
            rows = [statistics.sort_rows(strip.line(side, place)) for place in range(3)]
            good = torch.stack([statistics.finite_rows(r) for r in [*rows, centre]]).all(0)
            if not good.all():
                self.left_out[f"{asked.site.name} ({int((~good).sum())} channels)"] = (
                    f"activations not finite with a zero {axis}"
                )
            fires = _fires(statistics.sorted_statistics(rows, centre), plus, minus, self._theta)
            for group, part in enumerate((slice(asked.pans), slice(asked.pans, None))):
                listens = ((plus | minus) & good)[part]
                line.asked[group] += int(listens.sum())
                line.fired[group] += int((fires[part] & listens).sum())


def measured(found: Iterable[Intrusion], interval: Interval | None = None) -> list[Measured]:
    """``intrusion_flips``, the most predictions that one line changes; none without predictions."""
    flips = [each.prediction_flips for each in found if each.prediction_flips is not None]
    if not flips:
        return []
    return [Measured(measure="intrusion_flips", value=float(max(flips)), interval=interval)]


def _whom_to_ask(
    sites: Sequence[Site],
    neurons: Sequence[Neuron],
    theta: float,
    seed: int,
    device: torch.device,
) -> dict[str, _Asked]:
    """By site its PANs, and the non-PANs that the first RAND plan of this seed would swap."""
    _, drawn, _ = plans(sites, neurons, mode="reflect", draws=1, seed=seed)
    asked = {}
    for site in sites:
        pans = [neuron for neuron in neurons if neuron.site == site.name]
        if not pans:
            continue
        others = (drawn.channels or {})[site.name]
        paired = [*pans, *pans[: len(others)]]
        channels = [*(pan.channel for pan in pans), *others]
        asked[site.name] = _Asked(
            site,
            torch.tensor(channels, device=device),
            len(pans),
            {axis: _hearing(paired, axis, theta, device) for axis in _SIDES},
        )
    return asked


def _hearing(
    pans: Sequence[Neuron], axis: Axis, theta: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which of the PANs are so on a side of this axis by high, and by low values: twice (C,)."""
    sides = [[side for side in _SIDES[axis] if side in str(pan.type)] for pan in pans]
    plus = [any(pan.ks_plus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    minus = [any(pan.ks_minus[s] >= theta for s in ss) for pan, ss in zip(pans, sides, strict=True)]
    return torch.tensor(plus, device=device), torch.tensor(minus, device=device)


def _strip(axis: Axis, position: float, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Cuts the three lines out of a map: (N, C, H, W) -> (N, C, 3, W) or (N, C, H, 3)."""
    dim = _DIMS[axis]

    def cut(output: Tensor) -> Tensor:
        return output.narrow(dim, _first_line(position, size[dim - 2], output.shape[dim]), 3)

    return cut


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
