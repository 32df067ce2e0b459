"""Distance profiles and histograms of individual padding aware neurons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pytest_pan.probes.activations.counted import PROFILE_DEPTH, Counted
from pytest_pan.probes.activations.states import State
from pytest_pan.records.neurons import SIDES, Histogram, Neuron
from pytest_pan.stats.counts import bin_edges, truncated
from pytest_pan.stats.ks import KS

MAX_PORTRAITS = 300
"""Number of PANs, strongest first, that get a profile and a histogram. A report shows no more, and
an untrained network, in which a tenth of the neurons are PANs, would spend most of the audit here.
"""

Profile = Mapping[str, tuple[tuple[float, float, float], ...]]


def portrayed(neurons: Iterable[Neuron], states: Mapping[str, State]) -> Iterator[Neuron]:
    """Yield the neurons in order, the strongest with a distance profile and a histogram."""
    listed = list(neurons)
    strongest = sorted(listed, key=lambda neuron: -neuron.strength)[:MAX_PORTRAITS]
    wanted: dict[str, list[Neuron]] = {}
    for neuron in strongest:
        wanted.setdefault(neuron.site, []).append(neuron)
    portraits: dict[tuple[str, int], tuple[Profile, Histogram]] = {}
    for site, chosen in wanted.items():
        for neuron, portrait in zip(chosen, _portraits(states[site], chosen), strict=True):
            portraits[site, neuron.channel] = portrait
    for neuron in listed:
        found = portraits.get((neuron.site, neuron.channel))
        yield neuron if found is None else replace(neuron, profile=found[0], histogram=found[1])


def _portraits(state: State, neurons: list[Neuron]) -> list[tuple[Profile, Histogram]]:
    channels = torch.tensor([neuron.channel for neuron in neurons])
    if state.counted is not None:
        rings, histograms = _from_counts(state.counted, channels.to(state.counted.edges.device))
    else:
        rings, histograms = _from_maps(state, channels)
    return list(zip(_profiles(neurons, rings), histograms, strict=True))


def _from_maps(state: State, channels: Tensor) -> tuple[list[KS], list[Histogram]]:
    if state.samples.maps:
        channels = channels.to(state.samples.maps[0].device)
    centre = state.centre(channels)
    depth = min(PROFILE_DEPTH, min(state.site.map) // 2)
    lines = [[state.line(side, distance, channels) for side in SIDES] for distance in range(depth)]
    rings = [state.compared(borders, centre) for borders in lines[1:]]
    return rings, _histograms(state, lines[0], centre)


def _from_counts(counted: Counted, channels: Tensor) -> tuple[list[KS], list[Histogram]]:
    rings = [counted.profile(channels, distance).middle for distance in range(1, counted.depth)]
    below = {region: counted.below_bin_edges(region, channels) for region in (*SIDES, "C")}
    low, high = counted.low[channels], counted.high[channels]
    return rings, _binned({side: below[side] for side in SIDES}, *below["C"], low, high)


def _profiles(neurons: list[Neuron], rings: list[KS]) -> list[Profile]:
    """Return the statistics of each line against the centre, by neuron, side and distance.

    Ours: the centre is the same at every distance. So distance 0 is the detection itself, and the
    inner lines, ``rings`` (4, P) each, are compared with a centre that contains them.
    """
    inner = [torch.stack(tuple(ring)).permute(2, 1, 0).tolist() for ring in rings]
    return [
        {
            side: (
                (neuron.ks[side], neuron.ks_plus[side], neuron.ks_minus[side]),
                *((a, b, c) for a, b, c in (ring[at][place] for ring in inner)),
            )
            for place, side in enumerate(SIDES)
        }
        for at, neuron in enumerate(neurons)
    ]


def _histograms(state: State, borders: list[Tensor], centre: Tensor) -> list[Histogram]:
    """Count sorted values in equal bins: borders (P, n), centre (P, m)."""
    ends = [(rows[:, 0], rows[:, -1]) for rows in (*borders, centre) if rows.shape[1]]
    low, high = torch.stack([a for a, _ in ends]).amin(0), torch.stack([b for _, b in ends]).amax(0)
    low, high = state.range(low, high)
    inner = bin_edges(low, high)[:, 1:-1].contiguous()
    below = {
        side: (torch.searchsorted(rows, inner.to(rows)), rows.shape[1])
        for side, rows in zip(SIDES, borders, strict=True)
    }
    centre_below = state.total(torch.searchsorted(centre, inner.to(centre)))
    return _binned(below, centre_below, state.size, low, high)


def _binned(
    borders: Mapping[str, tuple[Tensor, int]],
    centre: Tensor,
    size: int,
    low: Tensor,
    high: Tensor,
) -> list[Histogram]:
    """Build histograms from the numbers of values below the inner bin edges, (P, BINS - 1) each.

    ``borders`` holds each side's counts and number of values; ``size`` is the centre's number.
    """
    k = max(count for _, count in borders.values())
    highest, lowest = truncated(centre, size, k)
    regions = dict(borders) | {
        "centre": (centre, size),
        "centre_high": (highest, k),
        "centre_low": (lowest, k),
    }
    counts: dict[str, list[list[int]]] = {}
    for region, (below, whole) in regions.items():
        first, last = torch.zeros_like(below[:, :1]), torch.full_like(below[:, :1], whole)
        counts[region] = torch.cat([first, below, last], 1).diff(dim=1).tolist()
    return [
        Histogram(
            low=float(low[at]),
            high=float(high[at]),
            counts={region: tuple(rows[at]) for region, rows in counts.items()},
        )
        for at in range(len(centre))
    ]
