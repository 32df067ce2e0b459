"""Report lines and section of the probe ``position``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_pan.charts.heat import heat_map
from pytest_pan.probes.position.records import ALL, MAIN, TARGETS, PositionFindings, Readout
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit

NAMES = {
    "H": "column (H)",
    "V": "row (V)",
    "G": "Gaussian (G)",
    "HS": "stripes along rows (HS)",
    "VS": "stripes along columns (VS)",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What the read-out predicts for a black image."""

    title: str
    data: str
    """Base64 PNG."""


@dataclass(frozen=True, slots=True)
class Row:
    """Row of the table."""

    title: str
    spc: tuple[str, ...]
    mae: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    found: PositionFindings
    pictures: tuple[Picture, ...]
    rows: tuple[Row, ...]
    targets: tuple[str, ...] = TARGETS


def _findings(audit: Audit) -> PositionFindings | None:
    found = audit.findings.get("position")
    return found if isinstance(found, PositionFindings) else None


def sentence(found: PositionFindings) -> str:
    """Return what is seen, in one sentence."""
    own = found.readouts[0]
    text = f"a linear read-out of the features gives the position with rank correlation {_of(own)}"
    swapped = found.of(ALL, found.mode)
    if swapped is not None:
        text += f", {_of(swapped)} with {found.mode} padding"
    black = found.black[0]
    text += f"; on a black image {_of(black)}"
    if all(black.constant.values()):
        text += ", where it says the same everywhere"
    return text


def _of(readout: Readout) -> str:
    parts = ", ".join(f"{name} {readout.spc[name]:.2f}" for name in MAIN)
    return f"{readout.mean_spc:.2f} ({parts})"


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on how well the position can be read."""
    found = _findings(audit)
    if found is not None:
        yield f"position: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the read-outs, with pictures of that for a black image; None without findings."""
    found = _findings(audit)
    if found is None:
        return None
    text = sentence(found)
    rows = [*found.readouts, *found.black]
    return View(
        sentence=f"{text[0].upper()}{text[1:]}.",
        found=found,
        pictures=tuple(_pictures(found)),
        rows=tuple(_row(readout, readout in found.black) for readout in rows),
    )


def _pictures(found: PositionFindings) -> Iterator[Picture]:
    for name in MAIN:
        yield Picture(
            title=f"{NAMES[name]}, rank correlation {found.black[0].spc[name]:.2f}",
            data=heat_map(found.black_maps[name], low=0, high=1),
        )


def _row(readout: Readout, is_black: bool) -> Row:
    title = readout.source if readout.padding == "own" else f"{readout.source}, {readout.padding}"
    return Row(
        title=f"{title}, black image" if is_black else title,
        spc=tuple(
            f"{readout.spc[name]:.2f}" + (" (constant)" if readout.constant[name] else "")
            for name in TARGETS
        ),
        mae=tuple(f"{readout.mae[name]:.3f}" for name in MAIN),
    )
