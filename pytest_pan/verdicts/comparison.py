"""Compare two JSON reports: which measures are better or worse, and what else differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_pan.probes import table
from pytest_pan.records.changes import Change, MeasureChange

Body = Mapping[str, Any]
"""An audit's entry in a JSON report."""

_MAX_NAMES = 3
"""Layers listed among those removed or added."""

_HARDWARE = ("device", "platform", "gpu", "gpu_memory", "compute_capability")
_VALUE_NEUTRAL = ("device", "workers")
"""Settings that do not count as changed settings: the device is compared as hardware, and the
number of workers does not affect values."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Comparison of two audits of a model: measures, and differences in their inputs."""

    name: str
    rows: tuple[MeasureChange, ...]
    differences: tuple[str, ...]
    partial: tuple[str, str]
    """Why each of the two is incomplete; empty if complete."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pairs of audits of the same model, and the models that only one report has."""

    pairs: tuple[Pair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    def count(self, change: Change) -> int:
        return sum(row.change == change for pair in self.pairs for row in pair.rows)

    @property
    def is_worse(self) -> bool:
        """Whether a measure is worse, or is missing or from an incomplete audit after."""
        incomplete = any(pair.partial[1] for pair in self.pairs)
        return bool(self.count("worse") or self.count("lost") or self.only_before or incomplete)


def compare(before: Sequence[Body], after: Sequence[Body], *, tolerance: float = 0.0) -> Comparison:
    """Compare audits matched by model name.

    Among several audits of a name, those with the same images and settings are matched first. A
    change of at most ``tolerance`` times the value before counts as the same, and so does one where
    either value lies in the other report's 95 % interval.
    """
    matches = _match(before, after)
    pairs = [
        pair(before[i], after[j], tolerance, use_intervals=True) for i, j in sorted(matches.items())
    ]
    found = set(matches.values())
    return Comparison(
        pairs=tuple(pairs),
        only_before=tuple(_name(b) for i, b in enumerate(before) if i not in matches),
        only_after=tuple(_name(a) for j, a in enumerate(after) if j not in found),
    )


def _match(before: Sequence[Body], after: Sequence[Body]) -> dict[int, int]:
    """Return the index in ``after`` of the match of each index in ``before``."""
    matches: dict[int, int] = {}
    for needed in (3, 2, 1, 0):
        for i, b in enumerate(before):
            for j, a in enumerate(after):
                free = i not in matches and j not in matches.values()
                if free and _name(a) == _name(b) and _agreement(a, b) >= needed:
                    matches[i] = j
    return matches


def _agreement(a: Body, b: Body) -> int:
    same_images = bool(a["images"].get("digest") == b["images"].get("digest"))
    return 2 * (settings_of_figures(a) == settings_of_figures(b)) + same_images


def _name(body: Body) -> str:
    return str(body["model"]["name"])


def settings_of_figures(body: Body) -> dict[str, Any]:
    """Return the settings that affect values."""
    return {k: v for k, v in body["settings"].items() if k not in _VALUE_NEUTRAL}


def pair(before: Body, after: Body, tolerance: float = 0.0, *, use_intervals: bool = False) -> Pair:
    """Compare two audits, without checking that they are of the same model."""
    return Pair(
        name=_name(before),
        rows=tuple(
            _row(name, before, after, tolerance, use_intervals)
            for name in _names(before["measures"], after["measures"])
        ),
        differences=tuple(_differences(before, after)),
        partial=(str(before.get("partial") or ""), str(after.get("partial") or "")),
    )


def _names(before: Body, after: Body) -> list[str]:
    """Return the names of both audits' measures: declared ones first, in their order."""
    every = dict.fromkeys([*before, *after])
    declared = [measure.name for measure in table.measures() if measure.name in every]
    return list(dict.fromkeys([*declared, *every]))


def _row(
    name: str, before: Body, after: Body, tolerance: float, use_intervals: bool
) -> MeasureChange:
    first, second = (body["measures"].get(name, {}) for body in (before, after))
    old, new = first.get("value"), second.get("value")
    change = _change(name, old, new, tolerance)
    if not use_intervals or change not in ("worse", "better", "unknown"):
        return MeasureChange(name, old, new, change)
    is_noise = _is_within(new, first.get("interval")) or _is_within(old, second.get("interval"))
    return MeasureChange(name, old, new, "same" if is_noise else change, is_noise=is_noise)


def _is_within(value: float, interval: Sequence[float] | None) -> bool:
    return interval is not None and interval[0] <= value <= interval[1]


def _change(name: str, old: float | None, new: float | None, tolerance: float) -> Change:
    if old is None or new is None:
        return "same" if old is new else "lost" if new is None else "new"
    if new == old or abs(new - old) <= tolerance * abs(old):
        return "same"
    measure = table.by_name().get(name)
    if measure is None:
        return "unknown"
    return "worse" if (new > old) == (measure.better == "lower") else "better"


def _differences(before: Body, after: Body) -> Iterator[str]:
    """Yield a line for each difference in weights, layers, images, settings, hardware and so on."""
    old, new = before["environment"], after["environment"]
    others = [key for key in _union(old, new) if key not in _HARDWARE]
    settings = settings_of_figures(before), settings_of_figures(after)
    for what, changed in (
        ("weights", _changed(before["model"], after["model"], ("digest", "parameters"))),
        ("layers", _layers(before, after)),
        ("images", _changed(before["images"], after["images"], ("digest", "count", "shape"))),
        ("labels", _changed(_labels(before), _labels(after), ("digest",))),
        ("settings", _changed(*settings, _union(*settings))),
        ("hardware", _changed(old, new, _HARDWARE)),
        ("versions", _changed(old, new, others)),
    ):
        if changed:
            yield f"{what}: {changed}"


def _labels(body: Body) -> dict[str, Any]:
    return {"digest": body["images"].get("labels") or None}


def layers(body: Body) -> Mapping[str, float]:
    """Return the number of PANs of each examined layer; empty if the report does not have it."""
    found: Mapping[str, float] = body["measures"].get("pan_count", {}).get("sites") or {}
    return found


def _layers(before: Body, after: Body) -> str:
    """Return ``2 removed (a, b), 1 added (c)``; empty if the layers are the same or unknown."""
    old, new = layers(before), layers(after)
    if not (old and new):
        return ""
    removed, added = ([n for n in a if n not in b] for a, b in ((old, new), (new, old)))
    return ", ".join(
        f"{len(names)} {what} "
        f"({', '.join(names[:_MAX_NAMES])}{', ...' if names[_MAX_NAMES:] else ''})"
        for what, names in (("removed", removed), ("added", added))
        if names
    )


def _changed(old: Body, new: Body, keys: Sequence[str]) -> str:
    """Return ``torch 2.14.0 -> 2.15.0`` for each key that differs; empty if none does."""
    return ", ".join(
        f"{key} {_text(old.get(key))} -> {_text(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    )


def _union(old: Body, new: Body) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _text(value: object) -> str:
    """Format a value: a list joined, None as ``-``, a long text such as a digest truncated."""
    if isinstance(value, list):
        return ("x" if all(isinstance(item, int) for item in value) else ",").join(map(str, value))
    text = "-" if value is None else str(value)
    return text[:16] + "..." if len(text) >= 64 else text
