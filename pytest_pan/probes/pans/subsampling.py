"""Convergence, stability and intervals of the PANs, from subsamples of the images (ours).

Detection is repeated on eight groups of the collected images, on pairs of groups and on halves.
Only candidates are examined again: the PANs, and neurons with statistics close to the threshold.
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
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Interval
from pytest_pan.records.sites import Site
from pytest_pan.stats import binned, ks, labels, subsamples
from pytest_pan.stats.ks import KS
from pytest_pan.stats.subsamples import Figures, Subsample

MARGIN_FACTOR = 1.25
"""Assumed bound on the difference between the statistics of b of n images and those of all n, in
units of sqrt(1 / b - 1 / n). (On MobileNetV2 with 40 images it misses 1 PAN in 200 in halves and 1
in 80 in quarters; with 160 images none in either, and 1 in 200 in some eighths.)"""

MIN_IMAGES = 8
"""Minimum number of images in a subsample."""

_BLOCK_BYTES = 1 << 28
"""Bytes of maps that are copied at a time."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Neurons of a site that are examined again on subsamples."""

    channels: Tensor
    """(K,) int."""
    score: Tensor
    """Largest min(KS, max(KS+, KS-)) of any side, (K,): at least theta for a PAN."""
    pans: Tensor
    """Whether each is a PAN on all images: (K,) bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Results of the subsamples; empty if there were none."""

    convergence: tuple[Convergence, ...] = ()
    shares: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Share of the halves in which each PAN is one, by site and channel."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Intervals of the whole model, by measure."""
    by_site: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """Intervals of the sites, by measure and site."""
    why_not: str = ""
    """Reason why there are no subsamples."""


def candidates(statistics: KS, theta: float, images: int) -> Candidates:
    """Select a site's neurons that may be PANs on fewer images, given statistics (4, C) on all."""
    score = torch.minimum(statistics.two_sided, torch.maximum(statistics.plus, statistics.minus))
    channels = (score.amax(0) >= candidate_threshold(theta, images)).nonzero().flatten()
    pans = labels.pans(statistics, theta).any(0)
    return Candidates(channels, score.amax(0)[channels], pans[channels])


def candidate_threshold(theta: float, images: int) -> float:
    """Return the score from which on a neuron is a candidate."""
    if images < LEAST_IMAGES:
        return theta
    return theta - max((margin(part, images) for part in subsample_plan(images)), default=0.0)


def margin(part: Subsample, images: int) -> float:
    """Return how far below theta the score of a PAN in the subsample may be on all images."""
    return MARGIN_FACTOR * math.sqrt((subsamples.GROUPS / len(part) - 1) / images)


def subsample_plan(images: int) -> list[Subsample]:
    """Return the eighths, quarters and halves that have enough images."""
    every = (*subsamples.eighths(), *subsamples.quarters(), *subsamples.halves())
    return [part for part in every if images * len(part) >= MIN_IMAGES * subsamples.GROUPS]


def examine(
    states: States, found: Mapping[str, Candidates], units: Tensor, *, theta: float, seed: int
) -> Stability:
    """Repeat the detection on subsamples of whole maps.

    ``found`` has candidates by site, ``units`` the unit of sampling of each image: (N,) int.
    """
    if why := why_not(states, units):
        return Stability(why_not=why)
    sites = {name: state for name, state in states.by_site.items() if name in found}
    if not sites:
        return Stability()
    plan = subsample_plan(states.images)
    groups = subsamples.group_of(units, seed)
    masks = {n: _pan_masks(state, found[n], plan, theta, groups) for n, state in sites.items()}
    rows = [state.site for state in sites.values()]
    return _stability(rows, found, masks, plan, states.images, theta)


def why_not(states: States, units: Tensor) -> str:
    """Return the reason why subsamples are impossible; empty if they are possible.

    ``units``: unit of sampling of each image, (N,) int.
    """
    if states.processes.count > 1:
        return "the images are divided among several processes"
    if states.bounded:
        return "the activations do not fit in memory"
    if states.images < LEAST_IMAGES:
        return f"{states.images} images, at least {LEAST_IMAGES} are needed"
    if (independent := len(units.unique())) < LEAST_UNITS:
        return f"{independent} groups of images (pan_groups), at least {LEAST_UNITS} are needed"
    return ""


def _pan_masks(
    state: State, found: Candidates, plan: Sequence[Subsample], theta: float, groups: Tensor
) -> Tensor:
    """Return which candidates are PANs in each subsample: (S, K) bool.

    For a site that ran on too few images, all rows are the result on all images.
    """
    masks = found.pans.repeat(len(plan), 1)
    if state.images < LEAST_IMAGES:
        return masks
    for size in {len(part) for part in plan}:
        parts = [part for part in plan if len(part) == size]
        chosen = found.score >= theta - margin(parts[0], state.images)
        rows = masks.new_zeros(len(parts), masks.shape[1])
        rows[:, chosen] = pan_sides(state, found.channels[chosen], parts, theta, groups).any(1)
        masks[has_groups(plan, size)] = rows
    return masks


def pan_sides(
    state: State, channels: Tensor, plan: Sequence[Subsample], theta: float, groups: Tensor
) -> Tensor:
    """Return the sides on which the channels (K,) are PANs in each subsample: (S, 4, K) bool.

    ``groups``: the group of each image, (N,) int; a site may have run on the first ones only.
    """
    order, ends = subsamples.in_order(groups[: state.images])
    blocks = [torch.zeros(len(plan), 4, 0, dtype=torch.bool, device=channels.device)]
    for block in _blocks(state, channels):
        maps = torch.cat([batch[:, block] for batch in state.samples.maps])[order]
        parts = [maps[start:end] for start, end in pairwise(ends)]
        each = [_statistics(state.site, [parts[g] for g in part], theta) for part in plan]
        blocks.append(torch.stack([labels.pans(one, theta) for one in each]))
    return torch.cat(blocks, 2)


def has_groups(plan: Sequence[Subsample], groups: int) -> Tensor:
    """Return which subsamples consist of that many groups: (S,) bool."""
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


def _stability(
    sites: Sequence[Site],
    found: Mapping[str, Candidates],
    masks: Mapping[str, Tensor],
    plan: Sequence[Subsample],
    images: int,
    theta: float,
) -> Stability:
    pans = {site.name: found[site.name].pans.cpu() for site in sites}
    by_subsample = {site.name: masks[site.name].cpu() for site in sites}
    groups = torch.tensor([len(part) for part in plan])
    counts = torch.stack([by_subsample[site.name].sum(1) for site in sites], 1).double()
    whole = torch.stack([pans[site.name].sum() for site in sites]).double()
    channels = torch.tensor([site.channels for site in sites]).double()
    halves, quarters = has_groups(plan, 4), has_groups(plan, 2)
    uncertain = torch.stack([_uncertain(found[site.name], theta, images) for site in sites], 1)
    figures = Figures(whole, counts[halves], counts[quarters])
    intervals, by_site = _intervals(sites, channels, figures, uncertain)
    all_pans = torch.cat([pans[site.name] for site in sites])
    all_masks = torch.cat([by_subsample[site.name] for site in sites], 1)
    return Stability(
        convergence=tuple(_steps(all_pans, all_masks, groups, images, int(channels.sum()))),
        shares={
            site.name: _shares(found[site.name], by_subsample[site.name][halves]) for site in sites
        },
        intervals=intervals,
        by_site=by_site,
    )


def _steps(
    whole: Tensor, by_subsample: Tensor, groups: Tensor, images: int, neurons: int
) -> Iterator[Convergence]:
    """Yield one step per subsample size, given which candidates are PANs.

    ``whole`` (K,) on all images, ``by_subsample`` (S, K); ``groups`` (S,) in each subsample.
    """
    rows = [(size, by_subsample[groups == size]) for size in groups.unique().tolist()]
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


def _uncertain(found: Candidates, theta: float, images: int) -> Tensor:
    """Count the PANs that other images may not show, and the others that they may: (2,)."""
    reach = MARGIN_FACTOR / math.sqrt(images)
    scores, pans = found.score.cpu(), found.pans.cpu()
    losing = (pans & (scores < theta + reach)).sum()
    return torch.stack([losing, (~pans & (scores >= theta - reach)).sum()])


def _shares(found: Candidates, halves: Tensor) -> dict[int, float]:
    """Return the share of the halves (R, K) in which each PAN is one, by channel."""
    shares = halves.double().mean(0)
    chosen = found.pans.cpu()
    return dict(zip(found.channels.cpu()[chosen].tolist(), shares[chosen].tolist(), strict=True))


def _intervals(
    sites: Sequence[Site], channels: Tensor, counts: Figures, uncertain: Tensor
) -> tuple[dict[str, Interval], dict[str, dict[str, Interval]]]:
    """Return the intervals of the model and of its sites, by measure, in whole neurons.

    ``counts`` are by site: (sites,).
    """
    low, high = _whole_numbers(counts, channels, uncertain)
    together = Figures(
        *(part.sum(-1, keepdim=True) for part in (counts.whole, counts.halves, counts.quarters))
    )
    total = channels.sum(0, keepdim=True)
    ends = _whole_numbers(together, total, uncertain.sum(1, keepdim=True))
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
            # bounds on the largest of several values that have an interval each
            "layer_pan_fraction": (max(part[0]), max(part[1])),
        },
        {"pan_count": by_count, "pan_fraction": by_share, "layer_pan_fraction": by_share},
    )


def _whole_numbers(counts: Figures, channels: Tensor, uncertain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of the intervals of counts, in whole neurons within [0, ``channels``].

    Where all subsamples agree the interval would have no width. It is widened by one neuron in each
    direction in which there is an ``uncertain`` one, (2, sites), and then holds the count.
    """
    low, high = subsamples.interval(counts)
    most = torch.minimum(high.ceil().clamp(min=0), channels)
    least = torch.minimum(low.floor().clamp(min=0), most)
    flat = least == most
    fewer, more = (uncertain > 0).double()
    wider = torch.minimum(least, counts.whole) - fewer, torch.maximum(most, counts.whole) + more
    least = torch.where(flat, wider[0].clamp(min=0), least)
    return least, torch.where(flat, torch.minimum(wider[1], channels), most)
