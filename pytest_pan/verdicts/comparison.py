"""Two reports side by side: which measures are better or worse, and what else is not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_pan.probes import table
from pytest_pan.records.changes import Change, Row

Body = Mapping[str, Any]
"""An audit as it stands in a JSON report."""

_NAMES = 3
"""Layers named among those that are gone or new."""

_HARDWARE = ("device", "platform", "gpu", "gpu_memory", "compute_capability")
_NOT_OF_THE_FIGURES = ("device", "workers")
"""Settings that say where and how, not what: the device is hardware, workers decide nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The audits of one model, and in what they differ besides the measures."""

    name: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    partial: tuple[str, str]
    """Why each of the two is incomplete; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Audits of the same model paired, and the models that only one report has."""

    pairs: tuple[Pair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    def count(self, change: Change) -> int:
        return sum(row.change == change for pair in self.pairs for row in pair.rows)

    @property
    def is_worse(self) -> bool:
        """Whether a measure is worse, or cannot be seen to be no worse: what was measured before
        and is no longer there, or was cut short, does not count as well.
        """
        cut = any(pair.partial[1] for pair in self.pairs)
        return bool(self.count("worse") or self.count("lost") or self.only_before or cut)


def compare(before: Sequence[Body], after: Sequence[Body], *, tolerance: float = 0.0) -> Comparison:
    """Audits matched by the name of their model; where there are several of a name, those on the
    same images with the same settings first. A change up to ``tolerance`` times the value before
    is none.
    """
    matches = _match(before, after)
    pairs = [pair(before[i], after[j], tolerance) for i, j in sorted(matches.items())]
    found = set(matches.values())
    return Comparison(
        pairs=tuple(pairs),
        only_before=tuple(_name(b) for i, b in enumerate(before) if i not in matches),
        only_after=tuple(_name(a) for j, a in enumerate(after) if j not in found),
    )


def _match(before: Sequence[Body], after: Sequence[Body]) -> dict[int, int]:
    """Numbers of audits before, and of those after that belong to them."""
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
    """The settings that decide the figures."""
    return {k: v for k, v in body["settings"].items() if k not in _NOT_OF_THE_FIGURES}


def pair(before: Body, after: Body, tolerance: float = 0.0) -> Pair:
    """Two audits side by side, whatever they are of."""
    rows = []
    for name in _names(before["measures"], after["measures"]):
        old, new = (body["measures"].get(name, {}).get("value") for body in (before, after))
        rows.append(Row(name, old, new, _change(name, old, new, tolerance)))
    return Pair(
        name=_name(before),
        rows=tuple(rows),
        differences=tuple(_differences(before, after)),
        partial=(str(before.get("partial") or ""), str(after.get("partial") or "")),
    )


def _names(before: Body, after: Body) -> list[str]:
    """Measures of either, those declared here first and in that order."""
    every = dict.fromkeys([*before, *after])
    declared = [measure.name for measure in table.measures() if measure.name in every]
    return list(dict.fromkeys([*declared, *every]))


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
    """A line for each of weights, images, labels, settings, hardware and versions that differ."""
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
    """What accuracy is counted by, the same images or not."""
    return {"digest": body["images"].get("labels") or None}


def layers(body: Body) -> Mapping[str, float]:
    """The number of PANs in each examined layer, as far as the report has it."""
    found: Mapping[str, float] = body["measures"].get("pan_count", {}).get("sites") or {}
    return found


def _layers(before: Body, after: Body) -> str:
    """``2 gone (a, b), 1 new (c)``"""
    old, new = layers(before), layers(after)
    if not (old and new):
        return ""
    gone, come = ([n for n in a if n not in b] for a, b in ((old, new), (new, old)))
    return ", ".join(
        f"{len(names)} {what} ({', '.join(names[:_NAMES])}{', ...' if names[_NAMES:] else ''})"
        for what, names in (("gone", gone), ("new", come))
        if names
    )


def _changed(old: Body, new: Body, keys: Sequence[str]) -> str:
    """``torch 2.14.0 -> 2.15.0`` for each key whose value is another; empty if none is."""
    return ", ".join(
        f"{key} {_text(old.get(key))} -> {_text(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    )


def _union(old: Body, new: Body) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _text(value: object) -> str:
    """A digest by its beginning, a list joined, nothing as ``-``."""
    if isinstance(value, list):
        return ("x" if all(isinstance(item, int) for item in value) else ",").join(map(str, value))
    text = "-" if value is None else str(value)
    return text[:16] + "..." if len(text) >= 64 else text
