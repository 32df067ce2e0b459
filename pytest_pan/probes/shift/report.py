"""Report lines and section of the probe ``shift``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pytest_pan.probes.probe import Page
from pytest_pan.probes.shift.records import Consistency, Kind, ShiftFindings
from pytest_pan.probes.uneven import report as uneven
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit

_SHOWS: dict[Kind, str] = {
    "roll": "border and seam",
    "circular roll": "aliasing",
    "resize": "uneven padding, and resampling",
    "shift": "border, aliasing and what enters and leaves",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    move: str
    padding: str
    shows: str
    share: str
    interval: str
    pairs: str


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    rows: tuple[Row, ...]
    stride: int
    pixel_change: str


def _findings(audit: Audit) -> ShiftFindings | None:
    found = audit.findings.get("shift")
    return found if isinstance(found, ShiftFindings) and found.found else None


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def sentence(found: ShiftFindings) -> str:
    """Return what is seen, in one sentence."""
    parts = []
    if shift := found.of("shift"):
        parts.append(f"{_percent(shift.share)} of pairs of shifted windows have the same top class")
    if roll := found.of("roll"):
        parts.append(
            f"{_percent(roll.share)} of images keep their top class when rolled by "
            f"{found.stride} pixels, which moves only border and seam"
        )
    if circular := found.of("circular roll"):
        parts.append(
            f"{_percent(circular.share)} when rolled at random with circular padding, which shows "
            "only aliasing"
        )
    if (resized := found.of("resize")) and found.even_size:
        parts.append(
            f"{_percent(resized.share)} when resized to {uneven.sizes([found.even_size])}, where "
            "every layer is even"
        )
    return "; ".join(parts)


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence on how often the top class stays."""
    found = _findings(audit)
    if found is not None:
        yield f"shift: {sentence(found)}"


def advice(audit: Audit) -> Iterator[Advice]:
    """Yield that of ``uneven`` with what the other size does to predictions, if it was tried."""
    found = _findings(audit)
    resized = None if found is None else found.of("resize")
    if found is None or resized is None:
        return
    kept = f"{_percent(resized.share)} of images keep their top class"
    if found.accuracy is not None:
        before, after = map(_percent, found.accuracy)
        kept += f", the accuracy goes from {before} to {after}"
    for each in uneven.advice(audit):
        yield replace(each, effect=f"{each.effect} On resized images {kept}.".strip())


def view(audit: Audit, page: Page) -> View | None:
    """Return the table of consistencies; None without findings."""
    found = _findings(audit)
    if found is None:
        return None
    return View(
        sentence=f"{sentence(found)}.",
        rows=tuple(_row(each, found.stride, found.even_size) for each in found),
        stride=found.stride,
        pixel_change="" if found.pixel_change is None else _percent(found.pixel_change),
    )


def _row(each: Consistency, stride: int, even: tuple[int, int] | None) -> Row:
    moves: dict[Kind, str] = {
        "roll": f"roll by {stride} pixels",
        "circular roll": f"roll by 0 to {stride - 1} pixels",
        "resize": f"resized to {uneven.sizes([even])}" if even else "",
        "shift": "windows of larger images, 0 to 32 pixels",
    }
    ends = each.interval
    return Row(
        move=moves[each.kind],
        padding="circular" if each.kind == "circular roll" else "own",
        shows=_SHOWS[each.kind],
        share=_percent(each.share),
        interval="-" if ends is None else f"{_percent(ends[0])} to {_percent(ends[1])}",
        pairs=f"{each.pairs:,} of {each.images:,} images",
    )
