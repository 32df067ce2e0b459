"""Report lines and section of the probe ``lines``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pan.charts.heat import heat_map
from pytest_pan.probes.lines.records import LayerLines, LinesFindings, Map
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit


@dataclass(frozen=True, slots=True)
class Picture:
    """Mean map of a layer with one padding."""

    title: str
    data: str
    """Base64 PNG."""


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    found: LinesFindings
    layers: tuple[LayerLines, ...]
    """Strongest first."""
    pictures: tuple[Picture, ...]


def _findings(audit: Audit) -> LinesFindings | None:
    found = audit.findings.get("lines")
    return found if isinstance(found, LinesFindings) and found.layers else None


def sentence(found: LinesFindings) -> str:
    """Return what is seen, in one sentence."""
    layer = found.strongest
    return (
        f"under random input the {layer.own.name} of {layer.site} lies {layer.own.score:.2f} "
        f"standard deviations from the interior; the median over layers is {found.own:.2f}, "
        f"and {found.swapped:.2f} with {found.mode} padding"
    )


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on the strongest line."""
    found = _findings(audit)
    if found is not None:
        yield f"lines: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the layers, strongest first, and pictures of the strongest few."""
    found = _findings(audit)
    if found is None:
        return None
    layers = tuple(sorted(found.layers, key=lambda each: -each.own.score))
    pictures = tuple(
        picture for each in layers if each.map_own for picture in _pictures(each, found.mode)
    )
    text = sentence(found)
    return View(f"{text[0].upper()}{text[1:]}.", found, layers, pictures)


def _pictures(layer: LayerLines, mode: str) -> Iterator[Picture]:
    """Yield the two maps of a layer on one scale."""
    both: tuple[tuple[str, Map], ...] = (
        ("own padding", layer.map_own),
        (f"{mode} padding", layer.map_swapped),
    )
    high = max(value for _, cells in both for row in cells for value in row)
    for name, cells in both:
        yield Picture(f"{layer.site}, {name}: 0 to {high:.2f}", heat_map(cells, low=0.0, high=high))
