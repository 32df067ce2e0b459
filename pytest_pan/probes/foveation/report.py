"""Report lines and section of the probe ``foveation``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pan.charts.heat import heat_map
from pytest_pan.probes.foveation.records import Foveation, FoveationFindings
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit

EVEN = 0.005
"""Asymmetry up to which halves count as read alike."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Map of one padding."""

    title: str
    data: str
    """Base64 PNG."""
    least: str
    asymmetry: str


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    pictures: tuple[Picture, ...]
    stride: int
    has_pictures: bool = True


def _findings(audit: Audit) -> FoveationFindings | None:
    found = audit.findings.get("foveation")
    return found if isinstance(found, FoveationFindings) and found.maps else None


def sentence(found: FoveationFindings) -> str:
    """Return what is seen, in one sentence."""
    own = found.own
    text = f"the least read pixels are read {_percent(own.least)} as often as the central ones"
    if own.asymmetry > EVEN:
        text += f", and one half of the image {_percent(2 * own.asymmetry / (1 - own.asymmetry))} "
        text += "more often than the other"
    for each in found.maps[1:]:
        text += f"; with {each.padding} padding {_percent(each.least)}"
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on the pixels that are read least."""
    found = _findings(audit)
    if found is not None:
        yield f"foveation: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the maps as pictures, all on one scale; None without findings."""
    found = _findings(audit)
    if found is None:
        return None
    high = max(value for each in found.maps for row in each.map for value in row)
    text = sentence(found)
    return View(
        sentence=f"{text[0].upper()}{text[1:]}.",
        pictures=tuple(_picture(each, high) for each in found.maps),
        stride=found.stride,
    )


def _picture(each: Foveation, high: float) -> Picture:
    name = "own padding" if each.padding == "own" else f"{each.padding} in place of zeros"
    return Picture(
        title=name,
        data=heat_map(each.map, low=0.0, high=high),
        least=_percent(each.least),
        asymmetry=_percent(each.asymmetry),
    )
