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
from pytest_pan.records import SIDES, Histogram, Measured, Neuron, Settings, Side, Site, Skip
from pytest_pan.stats import ks as statistics
from pytest_pan.stats import labels
from pytest_pan.stats.ks import KS

PROFILE_DEPTH = 4
BINS = 48


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
        reason = why_not(call.kernel, call.pad, call.size, call.map)
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

    with tapped(Tap(model, see, gathered.skips.__setitem__)) as tap:
        for batch in batches:
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
    """Statistics, labels and measures of what was gathered."""
    skips = dict(gathered.skips)
    sites: list[Site] = []
    neurons: list[Neuron] = []
    edges: dict[str, float] = {}
    for samples in gathered.examined():
        site = samples.site
        ranked = [statistics.sort_rows(border) for border in samples.borders()]
        centre = statistics.sort_rows(samples.centre(), in_place=True)
        broken = _not_finite([*ranked, centre])
        if broken:
            skips[site.name] = broken
            continue
        ks = statistics.sorted_statistics(ranked, centre)
        sites.append(site)
        edges[site.name] = int(labels.edge_detectors(ks, settings.theta).any(0).sum())
        neurons += _neurons(samples, ranked, centre, ks, settings.theta)
    skips |= {n: w for n, w in unseen_convolutions(model, {*gathered.samples, *gathered.skips})}
    return Findings(
        sites=tuple(sites),
        neurons=tuple(neurons),
        measures=_measures(sites, neurons, edges),
        skips=tuple(Skip(what=name, why=why) for name, why in skips.items()),
    )


def _not_finite(ranked: list[Tensor]) -> str:
    bad = ~torch.stack([statistics.finite_rows(rows) for rows in ranked]).all(0)
    if not bad.any():
        return ""
    first = int(bad.nonzero()[0])
    return f"activations not finite in {int(bad.sum())} of {len(bad)} channels, first in {first}"


def _neurons(
    samples: Samples, borders: list[Tensor], centre: Tensor, ks: KS, theta: float
) -> list[Neuron]:
    """The PANs of one site, with distance profile and histograms."""
    bits = labels.side_bits(labels.pans(ks, theta))
    edge_bits = labels.side_bits(labels.edge_detectors(ks, theta)).tolist()
    channels = bits.nonzero().flatten()
    if not len(channels):
        return []
    profiles = _profiles(samples, centre, channels)
    histograms = _histograms([border[channels] for border in borders], centre[channels])
    return [
        Neuron(
            site=samples.site.name,
            channel=channel,
            type=Side(int(bits[channel])),
            edges=Side(edge_bits[channel]),
            ks=_by_side(ks.two_sided[:, channel]),
            ks_plus=_by_side(ks.plus[:, channel]),
            ks_minus=_by_side(ks.minus[:, channel]),
            profile=profiles[at],
            histogram=histograms[at],
        )
        for at, channel in enumerate(channels.tolist())
    ]


def _by_side(values: Tensor) -> dict[str, float]:
    return dict(zip(SIDES, values.tolist(), strict=True))


def _profiles(
    samples: Samples, centre: Tensor, channels: Tensor
) -> list[dict[str, tuple[tuple[float, float, float], ...]]]:
    """For each channel, side and distance, the statistics of that line against the centre.

    Ours: the centre is the same at every distance, so distance 0 is the detection itself, and
    the lines behind it are compared with a centre that they are part of.
    """
    depth = min(PROFILE_DEPTH, min(samples.site.map) // 2)
    rows = centre[channels]
    found: list[dict[str, list[tuple[float, float, float]]]] = [
        {side: [] for side in SIDES} for _ in channels
    ]
    for distance in range(depth):
        lines = [statistics.sort_rows(samples.line(s, distance, channels)) for s in SIDES]
        at = torch.stack(statistics.sorted_statistics(lines, rows)).permute(2, 1, 0).tolist()
        for profile, by_side in zip(found, at, strict=True):
            for side, (two_sided, plus, minus) in zip(SIDES, by_side, strict=True):
                profile[side].append((two_sided, plus, minus))
    return [{side: tuple(points) for side, points in profile.items()} for profile in found]


def _histograms(borders: list[Tensor], centre: Tensor) -> list[Histogram]:
    """Counts in equal bins, read off the sorted rows: borders (P, n), centre (P, m)."""
    k = max(border.shape[1] for border in borders)
    regions = dict(zip(SIDES, borders, strict=True)) | {
        "centre": centre,
        "centre_high": centre[:, -k:],
        "centre_low": centre[:, :k],
    }
    low = torch.stack([rows[:, 0] for rows in regions.values()]).amin(0)
    high = torch.stack([rows[:, -1] for rows in regions.values()]).amax(0)
    steps = torch.linspace(0, 1, BINS + 1, device=centre.device, dtype=centre.dtype)
    inner = (low[:, None] + (high - low)[:, None] * steps)[:, 1:-1].contiguous()
    counts: dict[str, list[list[int]]] = {}
    for region, rows in regions.items():
        below = torch.searchsorted(rows.contiguous(), inner)
        ends = below.new_tensor([[0], [rows.shape[1]]]).expand(2, len(rows))
        edges = torch.cat([ends[0][:, None], below, ends[1][:, None]], 1)
        counts[region] = edges.diff(dim=1).tolist()
    return [
        Histogram(
            low=float(low[at]),
            high=float(high[at]),
            counts={region: tuple(rows[at]) for region, rows in counts.items()},
        )
        for at in range(len(centre))
    ]


def _measures(
    sites: list[Site], neurons: list[Neuron], edges: dict[str, float]
) -> dict[str, Measured]:
    counts = dict.fromkeys((site.name for site in sites), 0.0)
    for neuron in neurons:
        counts[neuron.site] += 1
    shares = {site.name: counts[site.name] / site.channels for site in sites}
    uneven = {site.name: float(is_uneven(site)) for site in sites}
    examined = sum(site.channels for site in sites)
    pans = len(neurons)
    values = [
        Measured(
            measure="pan_fraction", value=pans / examined if examined else math.nan, sites=shares
        ),
        Measured(measure="pan_count", value=pans, sites=counts),
        Measured(
            measure="layer_pan_fraction", value=max(shares.values(), default=math.nan), sites=shares
        ),
        Measured(measure="edge_detector_count", value=sum(edges.values()), sites=edges),
        Measured(measure="uneven_layers", value=sum(uneven.values()), sites=uneven),
    ]
    return {measured.measure: measured for measured in values}
