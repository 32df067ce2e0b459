"""PAN detection: statistics, labels and measures of the collected activations (PAN section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.probes.activations.states import State, States
from pytest_pan.probes.pans import subsampling
from pytest_pan.probes.pans.subsampling import Candidates, Stability
from pytest_pan.records.audit import Settings
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import SIDES, Neuron, Side
from pytest_pan.records.sites import Site
from pytest_pan.stats import labels
from pytest_pan.stats.counts import Bounds
from pytest_pan.stats.ks import KS


@dataclass
class Detected:
    """Examined sites, their PANs, and their numbers of PANs and edge detectors."""

    sites: list[Site] = field(default_factory=list)
    neurons: list[Neuron] = field(default_factory=list)
    edges: dict[str, Span] = field(default_factory=dict)
    pans: dict[str, Span] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)
    error: float = 0.0
    """Largest error bound of any statistic; 0 if all are exact."""
    near: dict[str, Candidates] = field(default_factory=dict, compare=False)
    """Neurons that may be PANs on a subsample of the images, by site."""


@dataclass(frozen=True, slots=True)
class Span:
    """Number of neurons, with its minimum and maximum within the error bounds."""

    value: int
    low: int
    high: int

    def over(self, whole: int) -> tuple[float, float]:
        """Return the minimum and the maximum as fractions of ``whole``."""
        return self.low / whole, self.high / whole


def detect(states: States, settings: Settings) -> Detected:
    """Compute the statistics and labels of all neurons, site by site."""
    detected, scratch, values = Detected(), Scratch(states), states.values
    for state in states.examined():
        site = state.site
        near = subsampling.candidate_threshold(settings.theta, state.images)
        bounds, bad = state.statistics(
            scratch.centre, theta=settings.theta, near=near, values=values
        )
        if reason := _not_finite(bad):
            detected.skips[site.name] = reason
            continue
        detected.sites.append(site)
        detected.edges[site.name] = _span(labels.edge_detectors, bounds, settings.theta)
        detected.pans[site.name] = _span(labels.pans, bounds, settings.theta)
        detected.near[site.name] = subsampling.candidates(
            bounds.middle, settings.theta, state.images
        )
        detected.neurons += _neurons(site, bounds, settings.theta)
        detected.error = max(detected.error, float(bounds.error.max()))
    return detected


def _span(rule: Callable[[KS, float], Tensor], bounds: Bounds, theta: float) -> Span:
    variants = [bounds.middle] if bounds.exact else [bounds.middle, *bounds]
    counts = [int(rule(ks, theta).any(0).sum()) for ks in variants]
    return Span(*(counts * 3 if bounds.exact else counts))


def finite_statistics(state: State, theta: float, *, values: int) -> KS | None:
    """Return the statistics of a site, exact for PANs and near-PANs; None if not all finite.

    ``values`` is the number of values in all states.
    """
    near = subsampling.candidate_threshold(theta, state.images)
    bounds, bad = state.statistics(theta=theta, near=near, values=values)
    return None if _not_finite(bad) else bounds.middle


class Scratch:
    """Reusable memory for the centre of one site at a time, sized for the largest site."""

    def __init__(self, states: States) -> None:
        whole = [state.samples for state in states.examined() if state.samples.maps]
        self._largest = max((samples.centre_size for samples in whole), default=0)
        self._memory: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def centre(self, state: State) -> Tensor | None:
        """Return a flat tensor for the centre of a site; None if it has no maps."""
        if not state.samples.maps:
            return None
        like = state.samples.maps[0]
        kind = like.dtype, like.device
        if kind not in self._memory:
            self._memory[kind] = like.new_empty(self._largest)
        return self._memory[kind]


def _not_finite(bad: Tensor) -> str:
    if not bad.any():
        return ""
    first = int(bad.nonzero()[0])
    return f"activations not finite in {int(bad.sum())} of {len(bad)} channels, first in {first}"


_BY_BITS = tuple(Side(bits) for bits in range(1 << len(SIDES)))


def _neurons(site: Site, bounds: Bounds, theta: float) -> list[Neuron]:
    """Build the records of the PANs of one site."""
    ks = bounds.middle
    bits = labels.side_bits(labels.pans(ks, theta))
    channels = bits.nonzero().flatten()
    edges = labels.side_bits(labels.edge_detectors(ks, theta))
    undecided = torch.zeros_like(bits)
    if not bounds.exact:
        is_open = labels.pans(bounds.low, theta) != labels.pans(bounds.high, theta)
        undecided = labels.side_bits(is_open)
    rows = [statistic[:, channels].T.tolist() for statistic in ks]
    errors = bounds.error.amax(0)[channels].tolist()
    columns = (
        *(each[channels].tolist() for each in (bits, edges, undecided)),
        errors,
        *rows,
    )
    return [
        Neuron(
            site=site.name,
            channel=channel,
            type=_BY_BITS[sides],
            edges=_BY_BITS[edge_sides],
            undecided=_BY_BITS[undecided_sides],
            error=error,
            ks=dict(zip(SIDES, two_sided, strict=True)),
            ks_plus=dict(zip(SIDES, plus, strict=True)),
            ks_minus=dict(zip(SIDES, minus, strict=True)),
        )
        for channel, sides, edge_sides, undecided_sides, error, two_sided, plus, minus in zip(
            channels.tolist(), *columns, strict=True
        )
    ]


def measures(detected: Detected, stability: Stability) -> dict[str, Measured]:
    """Return the measures of the probe, with error bounds and intervals."""
    sites, pans, edges = detected.sites, detected.pans, detected.edges
    examined = sum(site.channels for site in sites)
    found, detectors = _sum(pans.values()), _sum(edges.values())
    shares = {site.name: pans[site.name].value / site.channels for site in sites}
    largest = max(shares.values(), default=math.nan)
    layer = [
        max((getattr(pans[site.name], end) / site.channels for site in sites), default=math.nan)
        for end in ("low", "high")
    ]
    counts = {name: float(span.value) for name, span in pans.items()}
    detecting = {name: float(span.value) for name, span in edges.items()}
    whole = examined or math.nan
    by_site = {
        "pan_fraction": {s.name: pans[s.name].over(s.channels) for s in sites},
        "pan_count": {s.name: pans[s.name].over(1) for s in sites},
        "edge_detector_count": {s.name: edges[s.name].over(1) for s in sites},
    }
    by_site["layer_pan_fraction"] = by_site["pan_fraction"]
    measured = (
        ("pan_fraction", found.value / whole, (found.low / whole, found.high / whole), shares),
        ("pan_count", found.value, (found.low, found.high), counts),
        ("layer_pan_fraction", largest, (layer[0], layer[1]), shares),
        ("edge_detector_count", detectors.value, (detectors.low, detectors.high), detecting),
    )
    return {
        name: Measured(
            measure=name,
            value=float(value),
            sites=by,
            bounds=(float(ends[0]), float(ends[1])) if ends and detected.error else None,
            site_bounds=by_site.get(name, {}) if detected.error else {},
            interval=stability.intervals.get(name),
            intervals=stability.by_site.get(name, {}),
        )
        for name, value, ends, by in measured
    }


def _sum(spans: Iterable[Span]) -> Span:
    listed = list(spans)
    return Span(*(sum(getattr(span, end) for span in listed) for end in ("value", "low", "high")))
