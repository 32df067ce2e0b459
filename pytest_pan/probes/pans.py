"""Which neurons are padding aware, on which borders? (PAN section 3)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pytest_pan.errors import InputError
from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.sites import is_uneven, why_not
from pytest_pan.instrument.tap import ConvCall, Tap, tapped, unseen_convolutions
from pytest_pan.probes.portraits import portrayed
from pytest_pan.records import NO_SIDE, SIDES, Measured, Neuron, Settings, Side, Site, Skip
from pytest_pan.stats import binned, labels
from pytest_pan.stats import ks as statistics
from pytest_pan.stats.ks import KS


@dataclass
class Gathered:
    """What the forward passes left: samples by site in the order of the network, and skips."""

    samples: dict[str, Samples] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)
    held: int = 0
    """Bytes of samples."""
    images: int = 0

    def examined(self) -> list[Samples]:
        return [samples for name, samples in self.samples.items() if name not in self.skips]


@dataclass
class Detected:
    """Sites that could be examined, their PANs, and their number of edge detectors."""

    sites: list[Site] = field(default_factory=list)
    neurons: list[Neuron] = field(default_factory=list)
    edges: dict[str, float] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The probe's answer."""

    sites: tuple[Site, ...]
    neurons: tuple[Neuron, ...]
    measures: dict[str, Measured]
    skips: tuple[Skip, ...]


def gather(
    model: nn.Module,
    batches: Iterable[Tensor],
    gathered: Gathered,
    *,
    expected: int | None,
    settings: Settings,
    tick: Callable[[int], None],
) -> None:
    """Runs the model over the batches and fills ``gathered``; what it raises leaves that whole.

    ``tick`` hears the number of images done. Raises :class:`InputError` where the samples would
    outgrow ``settings.memory`` bytes.
    """

    def see(call: ConvCall) -> None:
        reason = why_not(call.kernel, call.pad, call.map)
        if reason:
            gathered.skips[call.name] = reason
            return
        samples = gathered.samples.get(call.name)
        if samples is None:
            samples = gathered.samples[call.name] = Samples(call.site())
        elif (samples.site.channels, samples.site.map) != (call.weight.shape[0], call.map):
            gathered.skips[call.name] = (
                f"its map changes: {samples.site.channels} channels of {samples.site.map}, then "
                f"{call.weight.shape[0]} of {call.map}"
            )
        if call.name not in gathered.skips:
            gathered.held += samples.add(call.output)

    tap = Tap(model, see, gathered.skips.__setitem__)
    for batch in batches:
        with tapped(tap):  # not around the loop: a data set's own convolutions are not the model's
            tap.begin()
            model(batch)
        gathered.images += len(batch)
        _check_memory(gathered, expected, settings.memory)
        tick(gathered.images)


def _check_memory(gathered: Gathered, expected: int | None, limit: int) -> None:
    to_come = max(expected or 0, gathered.images)
    needed = gathered.held * to_come // gathered.images
    if needed > limit:
        fit = limit * gathered.images // gathered.held
        raise InputError(
            "samples outgrow the memory set aside for them",
            got=f"{needed / 2**30:.1f} GiB for {to_come} images",
            allowed=f"{limit / 2**30:.1f} GiB",
            next=f"Give about {fit} images, or raise memory (bytes).",
        )


def findings(model: nn.Module, gathered: Gathered, settings: Settings) -> Findings:
    """Statistics, labels, portraits and measures of what was gathered."""
    detected = detect(gathered, settings)
    skips = gathered.skips | detected.skips
    skips |= dict(unseen_convolutions(model, {*gathered.samples, *gathered.skips}))
    return Findings(
        sites=tuple(detected.sites),
        neurons=tuple(portrayed(detected.neurons, gathered.samples)),
        measures=_measures(detected),
        skips=tuple(Skip(what=name, why=why) for name, why in skips.items()),
    )


def detect(gathered: Gathered, settings: Settings) -> Detected:
    """Every neuron's statistics and labels, site by site."""
    detected, scratch = Detected(), _Scratch(gathered)
    total = sum(samples.centre_size for samples in gathered.examined())
    for samples in gathered.examined():
        site = samples.site
        ks, broken = _statistics(samples, scratch.of, total)
        if broken:
            detected.skips[site.name] = broken
            continue
        edges = labels.edge_detectors(ks, settings.theta).any(0)
        detected.sites.append(site)
        detected.edges[site.name] = int(edges.sum())
        detected.neurons += _neurons(site, ks, settings.theta)
    return detected


def detect_sides(samples: Samples, theta: float) -> list[Side]:
    """The sides on which each of the channels in the samples is a PAN; none if not finite."""
    ks, broken = _statistics(samples, None, samples.centre_size)
    if broken:
        return [NO_SIDE] * samples.maps[0].shape[1]
    return [Side(bits) for bits in labels.side_bits(labels.pans(ks, theta)).tolist()]


def _statistics(
    samples: Samples, scratch: Callable[[Samples], Tensor] | None, total: int
) -> tuple[KS, str]:
    """The statistics, and why they mean nothing, if they don't; ``total`` values are to come."""
    if binned.worthwhile(total, samples.maps[0]):
        ks, finite = binned.binned_statistics(samples.maps)
        return ks, _not_finite(~finite)
    ranked = [statistics.sort_rows(border) for border in samples.borders()]
    centre = statistics.sort_rows(samples.centre(out=scratch and scratch(samples)), in_place=True)
    bad = ~torch.stack([statistics.finite_rows(rows) for rows in (*ranked, centre)]).all(0)
    return statistics.sorted_statistics(ranked, centre), _not_finite(bad)


class _Scratch:
    """Memory for the centre of one site at a time, as large as the largest needs."""

    def __init__(self, gathered: Gathered) -> None:
        self._largest = max((s.centre_size for s in gathered.examined()), default=0)
        self._memory: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def of(self, samples: Samples) -> Tensor:
        """A flat tensor for the centre of these samples."""
        like = samples.maps[0]
        kind = like.dtype, like.device
        if kind not in self._memory:
            self._memory[kind] = like.new_empty(self._largest)
        return self._memory[kind]


def _not_finite(bad: Tensor) -> str:
    if not bad.any():
        return ""
    first = int(bad.nonzero()[0])
    return f"activations not finite in {int(bad.sum())} of {len(bad)} channels, first in {first}"


def _neurons(site: Site, ks: KS, theta: float) -> list[Neuron]:
    """The PANs of one site."""
    bits = labels.side_bits(labels.pans(ks, theta))
    channels = bits.nonzero().flatten()
    edges = labels.side_bits(labels.edge_detectors(ks, theta))
    rows = [statistic[:, channels].T.tolist() for statistic in ks]
    columns = (channels.tolist(), bits[channels].tolist(), edges[channels].tolist(), *rows)
    return [
        Neuron(
            site=site.name,
            channel=channel,
            type=Side(sides),
            edges=Side(edge_sides),
            ks=dict(zip(SIDES, two_sided, strict=True)),
            ks_plus=dict(zip(SIDES, plus, strict=True)),
            ks_minus=dict(zip(SIDES, minus, strict=True)),
        )
        for channel, sides, edge_sides, two_sided, plus, minus in zip(*columns, strict=True)
    ]


def _measures(detected: Detected) -> dict[str, Measured]:
    sites, edges = detected.sites, detected.edges
    counts = dict.fromkeys((site.name for site in sites), 0.0)
    for neuron in detected.neurons:
        counts[neuron.site] += 1
    shares = {site.name: counts[site.name] / site.channels for site in sites}
    uneven = {site.name: float(is_uneven(site)) for site in sites}
    pans, examined = len(detected.neurons), sum(site.channels for site in sites)
    values: list[tuple[str, float, dict[str, float]]] = [
        ("pan_fraction", pans / examined if examined else math.nan, shares),
        ("pan_count", pans, counts),
        ("layer_pan_fraction", max(shares.values(), default=math.nan), shares),
        ("edge_detector_count", sum(edges.values()), edges),
        ("uneven_layers", sum(uneven.values()), uneven),
    ]
    return {name: Measured(measure=name, value=value, sites=by) for name, value, by in values}
