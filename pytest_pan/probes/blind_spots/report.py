"""Report lines and section of the probe ``blind_spots``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pan.charts.heat import heat_map
from pytest_pan.probes.blind_spots.records import BlindSpotFindings, Kind
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit

_SCORES: dict[Kind, str] = {
    "class": "log-probability of the object's class",
    "box": "score of the object's box",
    "pixels": "share of the object's pixels with the same class as at the centre",
}
_ROWS = ("at the top", "above the middle", "half-way down", "below the middle", "at the bottom")
_COLUMNS = ("left", "left of the middle", "in the middle", "right of the middle", "right")


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    found: BlindSpotFindings
    score: str
    picture: str
    """Base64 PNG of the scores."""


def _findings(audit: Audit) -> BlindSpotFindings | None:
    found = audit.findings.get("blind_spots")
    return found if isinstance(found, BlindSpotFindings) else None


def sentence(found: BlindSpotFindings) -> str:
    """Return what is seen, in one sentence."""
    text = (
        f"the {_SCORES[found.kind]} is {found.gap.value:+.2f} at the border of 5x5 places against "
        f"the inside (deviation {found.gap.deviation:.2f} over {found.stimuli} objects"
    )
    ends = found.gap.interval
    text += f", 95 % interval {ends[0]:+.2f} to {ends[1]:+.2f})" if ends else ")"
    if found.depth.value < 0:
        row, column = found.lowest
        text += f", and lowest {_ROWS[row]}, {_COLUMNS[column]}: {found.depth.value:+.2f}"
    return text


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on the scores by place."""
    found = _findings(audit)
    if found is not None:
        yield f"blind_spots: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the scores by place, with a picture; None without findings."""
    found = _findings(audit)
    if found is None:
        return None
    text = sentence(found)
    return View(
        sentence=f"{text[0].upper()}{text[1:]}.",
        found=found,
        score=_SCORES[found.kind],
        picture=heat_map(found.scores),
    )
