"""Report lines and section of the probe ``ppp``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

from pytest_pan.charts.heat import heat_map
from pytest_pan.probes.ppp.records import Layer, Pattern, PppFindings
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit


@dataclass(frozen=True, slots=True)
class Picture:
    """Map of one padding."""

    title: str
    data: str
    """Base64 PNG."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    site: str
    anchor: str
    """Of the site in the report; empty if it has none."""
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    rows: tuple[Row, ...]
    pictures: tuple[Picture, ...]
    margin: int
    images: int
    mode: str


def _findings(audit: Audit) -> PppFindings | None:
    found = audit.findings.get("ppp")
    return found if isinstance(found, PppFindings) and found.layers else None


def _mean(patterns: Iterable[Pattern]) -> float:
    return fmean(pattern.mae for pattern in patterns)


def sentence(found: PppFindings) -> str:
    """Return what is seen, in one sentence."""
    most = max(found.layers, key=lambda layer: layer.own.mae)
    own = _mean(layer.own for layer in found.layers)
    swapped = _mean(layer.swapped for layer in found.layers)
    return (
        f"padding moves the features by {own:.3g} standard deviations on average, most in "
        f"{most.site} ({most.own.mae:.3g}), and {found.mode} padding by {swapped:.3g}"
    )


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on how far padding moves the features."""
    found = _findings(audit)
    if found is not None:
        yield f"ppp: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the table of layers and the pictures of the strongest; None without findings."""
    found = _findings(audit)
    if found is None:
        return None
    text = sentence(found)
    return View(
        sentence=f"{text[0].upper()}{text[1:]}.",
        rows=tuple(
            Row(layer.site, page.sites.get(layer.site, ""), _cells(layer)) for layer in found.layers
        ),
        pictures=tuple(each for layer in found.layers for each in _pictures(layer, found.mode)),
        margin=found.margin,
        images=found.images,
        mode=found.mode,
    )


def _cells(layer: Layer) -> tuple[str, ...]:
    def decibels(pattern: Pattern) -> str:
        return "below noise" if pattern.snr is None else f"{pattern.snr:.1f}"

    both = layer.own, layer.swapped
    return (*(f"{each.mae:.3f}" for each in both), *(decibels(each) for each in both))


def _pictures(layer: Layer, mode: str) -> Iterator[Picture]:
    """Yield the maps of both paddings of a layer, on one scale."""
    maps = layer.own.map, layer.swapped.map
    if not all(maps):
        return
    high = max(value for each in maps for row in each for value in row)
    for name, pattern in (("own padding", layer.own), (mode, layer.swapped)):
        title = f"{layer.site}, {name}: mean {pattern.mae:.3f}"
        yield Picture(title=title, data=heat_map(pattern.map, low=0.0, high=high))
