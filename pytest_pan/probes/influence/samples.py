"""The images that a plan affects most, with their pictures."""

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
    """A PNG in base64 with its size in pixels."""

    data: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Affected:
    """An image among those that the plan affects most."""

    index: int
    distance: str
    change: str
    label: str
    alt: str
    picture: Picture | None


def class_name(audit: Audit, index: int) -> str:
    """The name of a class, or its number."""
    return audit.classes[index] if 0 <= index < len(audit.classes) else f"class {index}"


def affected(
    audit: Audit, samples: Sequence[Sample], room: int
) -> tuple[tuple[Affected, ...], int]:
    """The samples, with pictures while they fit, and how many pictures did not."""
    shown, left_out, taken = [], 0, 0
    for sample in samples:
        taken += len(sample.thumbnail)
        pictured = picture(sample.thumbnail)
        if pictured and taken > room:
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
    """A PNG with the size that its header gives; None for anything else."""
    try:
        head = base64.b64decode(data, validate=True)[:24]
    except ValueError:
        return None
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", head[16:24])
    return Picture(data, width, height) if width and height else None
