"""How far do the PANs depend on which images there are, and on how many? (The procedure is ours.)

The detection is repeated on subsamples of the images that were gathered: on eight groups of them,
on pairs of groups, and on halves. Only neurons that may be PANs in a subsample are looked at again:
the PANs, and those whose statistics come near the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from pytest_pan.instrument.capture import Samples
from pytest_pan.probes.activations.states import State, States
from pytest_pan.probes.pans.records import Convergence
from pytest_pan.records.measures import LEAST_IMAGES, Interval
from pytest_pan.records.sites import Site
from pytest_pan.stats import binned, ks, labels, subsamples
from pytest_pan.stats.ks import KS
from pytest_pan.stats.subsamples import Subsample

REACH = 1.25
"""The statistics of b of n images are taken to differ from those of all of them by no more than
this times sqrt(1 / b - 1 / n). (Among MobileNetV2's neurons that overlooks, of 40 images, 1 PAN in
200 in halves and 1 in 80 in quarters; of 160 images none there, and 1 in 200 in some eighths.)"""

LEAST = 8
"""Images that a subsample has at least."""

_BLOCK_BYTES = 1 << 28
"""Maps that are copied at a time."""


@dataclass(frozen=True, slots=True)
class Near:
    """The neurons of a site that are looked at again."""

    channels: Tensor
    """(K,) int."""
    reach: Tensor
    """min(KS, max(KS+, KS-)) of the side where it is largest: a PAN reaches theta. (K,)"""
    pans: Tensor
    """Which of them are PANs on all images: (K,) bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """What the subsamples showed; empty where there were none."""

    convergence: tuple[Convergence, ...] = ()
    shares: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """By site and channel of its PANs: share of the halves in which it is one."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """By measure."""
    by_site: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    why_not: str = ""


def near(statistics: KS, theta: float, images: int) -> Near:
    """Those of a site's neurons that may be PANs on fewer images: statistics (4, C) of so many."""
    reach = torch.minimum(statistics.two_sided, torch.maximum(statistics.plus, statistics.minus))
    channels = (reach.amax(0) >= nearest(theta, images)).nonzero().flatten()
    pans = labels.pans(statistics, theta).any(0)
    return Near(channels, reach.amax(0)[channels], pans[channels])


def nearest(theta: float, images: int) -> float:
    """From which statistics on a neuron is looked at again."""
    if images < LEAST_IMAGES:
        return theta
    return theta - max((margin(part, images) for part in plan_of(images)), default=0.0)


def margin(part: Subsample, images: int) -> float:
    """How far below the threshold a neuron may lie that is a PAN in a subsample."""
    return REACH * math.sqrt((subsamples.GROUPS / len(part) - 1) / images)


def plan_of(images: int) -> list[Subsample]:
    """Eighths, quarters and halves of so many images, those that have enough of them."""
    every = (*subsamples.eighths(), *subsamples.quarters(), *subsamples.halves())
    return [part for part in every if images * len(part) >= LEAST * subsamples.GROUPS]


def examine(states: States, found: Mapping[str, Near], *, theta: float, seed: int) -> Stability:
    """Repeats the detection on subsamples of whole maps; ``found`` by site of those examined."""
    if why := why_not(states):
        return Stability(why_not=why)
    sites = {name: state for name, state in states.by_site.items() if name in found}
    if not sites:
        return Stability()
    plan = plan_of(states.images)
    masks = {n: _again(state, found[n], plan, theta, seed) for n, state in sites.items()}
    return _told([s.site for s in sites.values()], found, masks, plan, states.images)


def why_not(states: States) -> str:
    """Why there are no subsamples; empty where there are."""
    if states.processes.count > 1:
        return "several processes share the images"
    if states.bounded:
        return "values were counted between edges"
    if states.images < LEAST_IMAGES:
        return f"{states.images} images are fewer than {LEAST_IMAGES}"
    return ""


def _again(state: State, found: Near, plan: Sequence[Subsample], theta: float, seed: int) -> Tensor:
    """Which neurons are PANs in each subsample: (S, K) bool.

    A site that ran on too few images is the same in all of them.
    """
    masks = found.pans.repeat(len(plan), 1)
    if state.images < LEAST_IMAGES:
        return masks
    for size in {len(part) for part in plan}:
        parts = [part for part in plan if len(part) == size]
        chosen = found.reach >= theta - margin(parts[0], state.images)
        again = masks.new_zeros(len(parts), masks.shape[1])
        again[:, chosen] = sides(state, found.channels[chosen], parts, theta, seed).any(1)
        masks[of_size(plan, size)] = again
    return masks


def sides(
    state: State, channels: Tensor, plan: Sequence[Subsample], theta: float, seed: int
) -> Tensor:
    """On which sides the channels (K,) are PANs in each subsample: (S, 4, K) bool."""
    order, ends = subsamples.in_groups(state.images, seed)
    blocks = [torch.zeros(len(plan), 4, 0, dtype=torch.bool, device=channels.device)]
    for some in _blocks(state, channels):
        maps = torch.cat([batch[:, some] for batch in state.samples.maps])[order]
        groups = [maps[start:end] for start, end in pairwise(ends)]
        each = [_statistics(state.site, [groups[g] for g in part], theta) for part in plan]
        blocks.append(torch.stack([labels.pans(one, theta) for one in each]))
    return torch.cat(blocks, 2)


def interval_of(whole: float, again: Tensor, plan: Sequence[Subsample]) -> Interval:
    """The interval of a share, of its values in each subsample: (S,)."""
    found = subsamples.interval(
        torch.tensor(whole, dtype=torch.float64), again[of_size(plan, 4)], again[of_size(plan, 2)]
    )
    low, high = (float(end.clamp(0, 1)) for end in found)
    return low, high


def of_size(plan: Sequence[Subsample], groups: int) -> Tensor:
    """Which subsamples are of so many groups: (S,) bool."""
    return torch.tensor([len(part) == groups for part in plan])


def _blocks(state: State, channels: Tensor) -> Iterator[Tensor]:
    each = state.images * state.samples.maps[0][0, 0].nbytes
    step = max(1, _BLOCK_BYTES // each)
    for at in range(0, len(channels), step):
        yield channels[at : at + step]


def _statistics(site: Site, maps: list[Tensor], theta: float) -> KS:
    values = sum(part.numel() for part in maps)
    if binned.worthwhile(values, maps[0]):
        return binned.binned_statistics(maps, theta=theta)[0]
    samples = Samples(site)
    samples.maps = maps
    return ks.border_statistics(samples.borders(), samples.centre())


def _told(
    sites: Sequence[Site],
    found: Mapping[str, Near],
    masks: Mapping[str, Tensor],
    plan: Sequence[Subsample],
    images: int,
) -> Stability:
    pans = {site.name: found[site.name].pans.cpu() for site in sites}
    again = {site.name: masks[site.name].cpu() for site in sites}
    groups = torch.tensor([len(part) for part in plan])
    counts = torch.stack([again[site.name].sum(1) for site in sites], 1).double()
    whole = torch.stack([pans[site.name].sum() for site in sites]).double()
    channels = torch.tensor([site.channels for site in sites]).double()
    halves, quarters = of_size(plan, 4), of_size(plan, 2)
    intervals, by_site = _intervals(sites, channels, (whole, counts[halves], counts[quarters]))
    together = torch.cat([pans[site.name] for site in sites])
    every = torch.cat([again[site.name] for site in sites], 1)
    return Stability(
        convergence=tuple(_steps(together, every, groups, images, int(channels.sum()))),
        shares={site.name: _shares(found[site.name], again[site.name][halves]) for site in sites},
        intervals=intervals,
        by_site=by_site,
    )


def _steps(
    whole: Tensor, every: Tensor, groups: Tensor, images: int, neurons: int
) -> Iterator[Convergence]:
    """A step a size: PANs (K,) on all images, (S, K) in subsamples of so many groups, (S,)."""
    rows = [(size, every[groups == size]) for size in groups.unique().tolist()]
    for size, masks in (*rows, (subsamples.GROUPS, whole[None])):
        counts = masks.sum(1)
        common, either = (masks & whole).sum(1).double(), (masks | whole).sum(1).double()
        mean = float(counts.double().mean())
        yield Convergence(
            images=round(images * size / subsamples.GROUPS),
            subsamples=len(masks),
            pan_count=mean,
            pan_fraction=mean / neurons,
            low=int(counts.min()),
            high=int(counts.max()),
            overlap=float(torch.where(either > 0, common / either.clamp(min=1), 1.0).mean()),
        )


def _shares(found: Near, halves: Tensor) -> dict[int, float]:
    """By channel of the PANs, in which share of the halves (R, K) each is one."""
    shares = halves.double().mean(0)
    chosen = found.pans.cpu()
    return dict(zip(found.channels.cpu()[chosen].tolist(), shares[chosen].tolist(), strict=True))


Counts = tuple[Tensor, Tensor, Tensor]
"""By site, of all images, halves and quarters: (sites,), (R, sites), (Q, sites)."""


def _intervals(
    sites: Sequence[Site], channels: Tensor, counts: Counts
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """By measure, of the whole model and of its sites. Counts end at whole neurons."""
    low, high = _whole_numbers(counts, channels)
    whole, halves, quarters = (part.sum(-1, keepdim=True) for part in counts)
    total = channels.sum(0, keepdim=True)
    ends = _whole_numbers((whole, halves, quarters), total)
    names = [site.name for site in sites]
    by_count = dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    part = (low / channels).tolist(), (high / channels).tolist()
    by_share = dict(zip(names, zip(*part, strict=True), strict=True))
    count = float(ends[0]), float(ends[1])
    fraction = float(ends[0] / total), float(ends[1] / total)
    return (
        {
            "pan_count": count,
            "pan_fraction": fraction,
            # the largest of figures that each lie between their ends
            "layer_pan_fraction": (max(part[0]), max(part[1])),
        },
        {"pan_count": by_count, "pan_fraction": by_share, "layer_pan_fraction": by_share},
    )


def _whole_numbers(counts: Counts, channels: Tensor) -> tuple[Tensor, Tensor]:
    low, high = subsamples.interval(*counts)
    most = torch.minimum(high.ceil().clamp(min=0), channels)
    return torch.minimum(low.floor().clamp(min=0), most), most
