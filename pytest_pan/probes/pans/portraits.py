"""What one padding aware neuron looks like: its distance profile and its histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pytest_pan.probes.activations.counted import PROFILE_DEPTH, Counted
from pytest_pan.probes.activations.states import State
from pytest_pan.records.neurons import SIDES, Histogram, Neuron
from pytest_pan.stats.counts import display, truncated
from pytest_pan.stats.ks import KS

PORTRAITS = 300
"""PANs of an audit that get one, the strongest: a report shows no more, and a network without
training, where a tenth of the neurons are PANs, would spend most of the audit on them."""

Profile = Mapping[str, tuple[tuple[float, float, float], ...]]


def portrayed(neurons: Iterable[Neuron], states: Mapping[str, State]) -> Iterator[Neuron]:
    """The neurons in their order, the strongest of them with profile and histogram."""
    listed = list(neurons)
    strongest = sorted(listed, key=lambda neuron: -neuron.strength)[:PORTRAITS]
    wanted: dict[str, list[Neuron]] = {}
    for neuron in strongest:
        wanted.setdefault(neuron.site, []).append(neuron)
    portraits: dict[tuple[str, int], tuple[Profile, Histogram]] = {}
    for site, chosen in wanted.items():
        for neuron, portrait in zip(chosen, _of_site(states[site], chosen), strict=True):
            portraits[site, neuron.channel] = portrait
    for neuron in listed:
        found = portraits.get((neuron.site, neuron.channel))
        yield neuron if found is None else replace(neuron, profile=found[0], histogram=found[1])


def _of_site(state: State, neurons: list[Neuron]) -> list[tuple[Profile, Histogram]]:
    channels = torch.tensor([neuron.channel for neuron in neurons])
    if state.counted is not None:
        rings, histograms = _counted(state.counted, channels.to(state.counted.edges.device))
    else:
        rings, histograms = _whole(state, channels)
    return list(zip(_profiles(neurons, rings), histograms, strict=True))


def _whole(state: State, channels: Tensor) -> tuple[list[KS], list[Histogram]]:
    if state.samples.maps:
        channels = channels.to(state.samples.maps[0].device)
    centre = state.centre(channels)
    depth = min(PROFILE_DEPTH, min(state.site.map) // 2)
    lines = [[state.line(side, distance, channels) for side in SIDES] for distance in range(depth)]
    rings = [state.compared(borders, centre) for borders in lines[1:]]
    return rings, _histograms(state, lines[0], centre)


def _counted(counted: Counted, channels: Tensor) -> tuple[list[KS], list[Histogram]]:
    rings = [counted.profile(channels, distance).middle for distance in range(1, counted.depth)]
    below = {region: counted.below_display(region, channels) for region in (*SIDES, "C")}
    low, high = counted.low[channels], counted.high[channels]
    return rings, _binned({side: below[side] for side in SIDES}, *below["C"], low, high)


def _profiles(neurons: list[Neuron], rings: list[KS]) -> list[Profile]:
    """For each neuron, side and distance, the statistics of that line against the centre.

    Ours: the centre is the same at every distance, so distance 0 is the detection itself, and
    the lines behind it, ``rings`` (4, P), are compared with a centre that they are part of.
    """
    behind = [torch.stack(tuple(ring)).permute(2, 1, 0).tolist() for ring in rings]
    return [
        {
            side: (
                (neuron.ks[side], neuron.ks_plus[side], neuron.ks_minus[side]),
                *((a, b, c) for a, b, c in (ring[at][place] for ring in behind)),
            )
            for place, side in enumerate(SIDES)
        }
        for at, neuron in enumerate(neurons)
    ]


def _histograms(state: State, borders: list[Tensor], centre: Tensor) -> list[Histogram]:
    """Counts in equal bins, read off the sorted rows: borders (P, n), centre (P, m)."""
    ends = [(rows[:, 0], rows[:, -1]) for rows in (*borders, centre) if rows.shape[1]]
    low, high = torch.stack([a for a, _ in ends]).amin(0), torch.stack([b for _, b in ends]).amax(0)
    low, high = state.range(low, high)
    inner = display(low, high)[:, 1:-1].contiguous()
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
    """Histograms from how many values lie below the inner ends of the bins, (P, BINS - 1) each.

    ``borders`` by side with their number of values, ``size`` that of the centre.
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
