"""What one padding aware neuron looks like: its distance profile and its histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pytest_pan.instrument.capture import Samples
from pytest_pan.records import SIDES, Histogram, Neuron
from pytest_pan.stats import ks as statistics

PORTRAITS = 300
"""PANs of an audit that get one, the strongest: a report shows no more, and a network without
training, where a tenth of the neurons are PANs, would spend most of the audit on them."""

PROFILE_DEPTH = 4
BINS = 48

Profile = Mapping[str, tuple[tuple[float, float, float], ...]]


def portrayed(neurons: Iterable[Neuron], samples: Mapping[str, Samples]) -> Iterator[Neuron]:
    """The neurons in their order, the strongest of them with profile and histogram."""
    listed = list(neurons)
    strongest = sorted(listed, key=lambda neuron: -neuron.strength)[:PORTRAITS]
    wanted: dict[str, list[int]] = {}
    for neuron in strongest:
        wanted.setdefault(neuron.site, []).append(neuron.channel)
    portraits: dict[tuple[str, int], tuple[Profile, Histogram]] = {}
    for site, channels in wanted.items():
        for channel, portrait in zip(channels, _of_site(samples[site], channels), strict=True):
            portraits[site, channel] = portrait
    for neuron in listed:
        found = portraits.get((neuron.site, neuron.channel))
        yield neuron if found is None else replace(neuron, profile=found[0], histogram=found[1])


def _of_site(samples: Samples, channels: list[int]) -> list[tuple[Profile, Histogram]]:
    chosen = torch.tensor(channels, device=samples.maps[0].device)
    centre = statistics.sort_rows(samples.centre(chosen), in_place=True)
    depth = min(PROFILE_DEPTH, min(samples.site.map) // 2)
    lines = [
        [statistics.sort_rows(samples.line(side, distance, chosen)) for side in SIDES]
        for distance in range(depth)
    ]
    return list(zip(_profiles(lines, centre), _histograms(lines[0], centre), strict=True))


def _profiles(lines: list[list[Tensor]], centre: Tensor) -> list[Profile]:
    """For each channel, side and distance, the statistics of that line against the centre.

    Ours: the centre is the same at every distance, so distance 0 is the detection itself, and
    the lines behind it are compared with a centre that they are part of. ``lines`` by distance
    and side, each (P, n), centre (P, m), all sorted.
    """
    by_distance = [
        torch.stack(statistics.sorted_statistics(borders, centre)).permute(2, 1, 0).tolist()
        for borders in lines
    ]
    return [
        {
            side: tuple((a, b, c) for a, b, c in (rings[at][place] for rings in by_distance))
            for place, side in enumerate(SIDES)
        }
        for at in range(len(centre))
    ]


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
        first, last = torch.zeros_like(below[:, :1]), torch.full_like(below[:, :1], rows.shape[1])
        counts[region] = torch.cat([first, below, last], 1).diff(dim=1).tolist()
    return [
        Histogram(
            low=float(low[at]),
            high=float(high[at]),
            counts={region: tuple(rows[at]) for region, rows in counts.items()},
        )
        for at in range(len(centre))
    ]
