"""View of the images that a plan affects most, with thumbnails."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_pan.charts.densities import number
from pytest_pan.probes.influence.records import Sample
from pytest_pan.records.audit import Audit


@dataclass(frozen=True, slots=True)
class Picture:
    """PNG in base64, with its size in pixels."""

    data: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Affected:
    """View of one of the most affected images."""

    index: int
    distance: str
    change: str
    label: str
    alt: str
    picture: Picture | None


def class_name(audit: Audit, index: int) -> str:
    """Return the name of a class, or its number if it has none."""
    return audit.classes[index] if 0 <= index < len(audit.classes) else f"class {index}"


def affected(
    audit: Audit, samples: Sequence[Sample], budget: int
) -> tuple[tuple[Affected, ...], int]:
    """Return the samples, and the number of pictures omitted beyond ``budget`` characters."""
    shown, left_out, taken = [], 0, 0
    for sample in samples:
        taken += len(sample.thumbnail)
        pictured = picture(sample.thumbnail)
        if pictured and taken > budget:
            left_out, pictured = left_out + 1, None
        shown.append(_sample(audit, sample, pictured))
    return tuple(shown), left_out


def _sample(audit: Audit, sample: Sample, pictured: Picture | None) -> Affected:
    before, after, label = (
        "" if index is None else class_name(audit, index)
        for index in (sample.before, sample.after, sample.label)
    )
    change = f"{before}, as before" if sample.before == sample.after else f"{before} → {after}"
    known = f", labelled {label}" if label else f", predicted as {before}" if before else ""
    return Affected(
        index=sample.index,
        distance=number(sample.distance),
        change=change if before and after else "",
        label=label,
        alt=f"Image {sample.index}{known}",
        picture=pictured,
    )


def picture(data: str) -> Picture | None:
    """Return a PNG with the size from its header; None for other data."""
    try:
        head = base64.b64decode(data, validate=True)[:24]
    except ValueError:
        return None
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return Picture(data, width, height) if width and height else None
