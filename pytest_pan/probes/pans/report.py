"""PANs in the reports: terminal lines, tables of layers and types, and cards of neurons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_pan.charts import densities
from pytest_pan.probes.pans.records import Convergence, PansFindings
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit
from pytest_pan.records.neurons import PAN_TYPES, Neuron
from pytest_pan.records.sites import Site

DASH = "\N{EN DASH}"

FIGURES = (300, 200, 100, 0)
"""Number of figures on a page, one per level: the strongest PANs of each audit get one. A figure
with its tables takes 5 kB, a table row 0.4 kB; 700 PANs without empty bins made a page of 1.9 MB.
"""

_LAYERS = 5
"""Number of layers listed in the terminal, those with the most PANs."""


def lines(audit: Audit) -> Iterator[str]:
    """Yield the types, the layers with the most PANs, and the convergence."""
    types = [f"{kind} {count}" for kind, count in audit.type_counts.items() if count]
    if types:
        yield "types: " + ", ".join(types)
        yield "layers with the most PANs:"
        yield from _layer_lines(audit)
    yield from markdown(audit)


def markdown(audit: Audit) -> Iterator[str]:
    """Yield ``PANs by number of images: 203 at 20, 175 at 40, 163 at 80, 153 at 160; ...``."""
    convergence = _convergence(audit)
    if not convergence:
        return
    steps = ", ".join(f"{step.pan_count:.0f} at {step.images}" for step in convergence)
    shares = [neuron.stability for neuron in audit.neurons if neuron.stability is not None]
    unstable = sum(share < 0.5 for share in shares)
    yield (
        f"PANs by number of images: {steps}; unstable PANs, which are PANs in fewer than half of "
        f"the random halves of the images: {unstable} of {len(shares)}"
    )


def _convergence(audit: Audit) -> tuple[Convergence, ...]:
    found = audit.findings.get("pans")
    return found.convergence if isinstance(found, PansFindings) else ()


def _layer_lines(audit: Audit) -> Iterator[str]:
    counts = audit.measures["pan_count"].sites
    ranked = sorted((s for s in audit.sites if counts[s.name]), key=lambda s: -counts[s.name])
    width = max(len(site.name) for site in ranked[:_LAYERS])
    for site in ranked[:_LAYERS]:
        count = counts[site.name]
        height, across = site.map
        weak = ", low reliability" if site.reliability == "low" else ""
        yield (
            f"  {site.name:<{width}} {count:4.0f} of {site.channels:4} "
            f"({100 * count / site.channels:4.1f} %) on {height}x{across}{weak}"
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """Row of the layer table (Table 1 of the PAN paper)."""

    id: str
    site: Site
    padding: tuple[tuple[int, int, bool], ...]
    """Padding, consumed padding, and whether they differ, for each side."""
    is_uneven: bool
    pans: str
    share: str
    edge_detectors: str
    is_top: tuple[bool, bool]
    """Whether the number of PANs, and their share, is among the three largest."""


@dataclass(frozen=True, slots=True)
class LayersView:
    """Tables of layers, types, and convergence."""

    layers: tuple[Layer, ...]
    types: tuple[tuple[str, int, str], ...]
    convergence: tuple[Convergence, ...]


def layers_view(audit: Audit, page: Page) -> LayersView:
    """Build the tables of layers, types and convergence."""
    counts, total = audit.type_counts, max(audit.pan_count, 1)
    return LayersView(
        layers=_layers(audit, page.sites),
        types=tuple((t, counts[t], f"{100 * counts[t] / total:.1f} %") for t in PAN_TYPES),
        convergence=_convergence(audit),
    )


def _layers(audit: Audit, anchors: Mapping[str, str]) -> tuple[Layer, ...]:
    with_pans = {neuron.site for neuron in audit.neurons}
    columns = {m: _by_site(audit, m) for m in ("pan_count", "pan_fraction")}
    limits = {m: (sorted(c.values(), reverse=True)[2:3] or [0.0])[0] for m, c in columns.items()}
    rows = []
    for site in audit.sites:
        pairs = tuple((p, c, p != c) for p, c in zip(site.padding, site.consumed, strict=True))
        top, bottom, left, right = site.consumed
        tops = [0 < columns[m].get(site.name, 0) >= limits[m] for m in columns]
        share = columns["pan_fraction"].get(site.name)
        rows.append(
            Layer(
                id=anchors[site.name] if site.name in with_pans else "",
                site=site,
                padding=pairs,
                is_uneven=top != bottom or left != right,
                pans=_count(columns["pan_count"].get(site.name)),
                share=DASH if share is None else f"{100 * share:.2f} %",
                edge_detectors=_count(_by_site(audit, "edge_detector_count").get(site.name)),
                is_top=(tops[0], tops[1]),
            )
        )
    return tuple(rows)


def _by_site(audit: Audit, measure: str) -> Mapping[str, float]:
    return audit.measures[measure].sites if measure in audit.measures else {}


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


@dataclass(frozen=True, slots=True)
class Pan:
    """Card of a PAN, with a chart for the strongest."""

    id: str
    neuron: Neuron
    type: str
    words: str
    origins: Mapping[str, str]
    """Origin of each side of the type; empty if the origins were not examined."""
    chart: densities.Chart | None


@dataclass(frozen=True, slots=True)
class Group:
    """PANs of one layer, strongest first: those with a figure, then the others."""

    id: str
    site: str
    types: str
    detailed: tuple[Pan, ...]
    others: tuple[Pan, ...]


@dataclass(frozen=True, slots=True)
class NeuronsView:
    """Cards of all PANs, grouped by layer."""

    groups: tuple[Group, ...]

    @property
    def unfigured(self) -> int:
        """Number of PANs listed in a table, without a figure."""
        return sum(len(group.others) for group in self.groups)

    @property
    def has_origins(self) -> bool:
        """Whether the origin of any PAN was examined."""
        return any(pan.origins for group in self.groups for pan in (*group.detailed, *group.others))


def neurons_view(audit: Audit, page: Page) -> NeuronsView:
    """Build the cards; the ``page.share`` strongest PANs get a figure."""
    ranked = sorted(audit.neurons, key=lambda neuron: -neuron.strength)
    by_site: dict[str, tuple[list[Pan], list[Pan]]] = {site: ([], []) for site in page.sites}
    has_origins = any(neuron.nascent or neuron.downstream for neuron in ranked)
    for rank, neuron in enumerate(ranked):
        pan = _pan(neuron, page.sites[neuron.site], rank < page.share, has_origins)
        by_site[neuron.site][rank >= page.share].append(pan)
    return NeuronsView(
        tuple(
            _group(site, page.sites[site], detailed, others)
            for site, (detailed, others) in by_site.items()
            if detailed or others
        )
    )


def _group(site: str, anchor: str, detailed: Sequence[Pan], others: Sequence[Pan]) -> Group:
    types = Counter(pan.type for pan in (*detailed, *others))
    text = ", ".join(f"{types[t]} {t}" for t in PAN_TYPES if t in types)
    return Group(anchor, site, text, tuple(detailed), tuple(others))


def origin(neuron: Neuron, side: str) -> str:
    """Return whether a side is nascent, downstream or undecided."""
    if side in str(neuron.nascent):
        return "nascent"
    return "downstream" if side in str(neuron.downstream) else "undecided"


def _pan(neuron: Neuron, anchor: str, is_drawn: bool, has_origins: bool) -> Pan:
    histogram = neuron.histogram if is_drawn else None
    return Pan(
        id=f"{anchor}/{neuron.channel}",
        neuron=neuron,
        type=str(neuron.type),
        words=densities.words(str(neuron.type)),
        origins={s: origin(neuron, s) for s in str(neuron.type)} if has_origins else {},
        chart=densities.chart(neuron, histogram) if histogram else None,
    )
