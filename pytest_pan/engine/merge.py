"""Merge several reports into one, as the reporting process merges the audits of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from pytest_pan.engine.audits import key
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected, RunSummary, summarize
from pytest_pan.records.limits import Verdict

_OF_A_RUN = ("verdicts", "seconds", "environment", "cached", "baseline", "images", "settings")
"""Keys that may differ between runs with the same findings, or that :func:`key` covers already."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged audits, the number of duplicates, and the models with conflicting findings."""

    audits: tuple[Audit, ...]
    same: int
    conflicting: tuple[str, ...]


def merge(audits: Iterable[Audit]) -> Merged:
    """Return each audit once, in input order, with the verdicts of all its copies.

    Two audits with the same network, images and settings (:func:`audits.key`) but different figures
    are both kept: neither is known to be the right one.
    """
    kept: dict[tuple[str, str], Audit] = {}
    same = 0
    for audit in audits:
        place = key(audit, is_same_machine=False), _found(audit)
        if place in kept:
            same += 1
            audit = replace(kept[place], verdicts=_united(kept[place].verdicts, audit.verdicts))
        kept[place] = audit
    findings: dict[str, int] = {}
    for of, _ in kept:
        findings[of] = findings.get(of, 0) + 1
    names = {of: str(audit.model.get("name")) for (of, _), audit in kept.items()}
    conflicting = tuple(names[of] for of, count in findings.items() if count > 1)
    return Merged(tuple(kept.values()), same, conflicting)


def together(runs: Sequence[RunSummary | None], audits: Sequence[Audit]) -> RunSummary | None:
    """Return the summary of all runs: sums of what was requested and done, and the layers and
    images of the merged audits. None if a run has no summary.
    """
    known = [run for run in runs if run is not None]
    if len(known) < len(runs):
        return None
    sums = {
        name: sum(getattr(run.collected, name) for run in known)
        for name in (field.name for field in fields(Collected))
    }
    return summarize(Collected(**sums), sum(run.fulfilled for run in known), audits)


def _found(audit: Audit) -> str:
    """Return all findings as text, in which undefined equals undefined (NaN does not). Paths of
    skipped files are relative to the folder of images, which differs between machines.
    """
    body = {name: part for name, part in audit.to_json().items() if name not in _OF_A_RUN}
    body["model"] = {k: v for k, v in audit.model.items() if k != "fingerprint"}
    folder = str(audit.images.get("source", ""))
    body["skips"] = [{**skip, "what": skip["what"].removeprefix(folder)} for skip in body["skips"]]
    return json.dumps(body, sort_keys=True, default=str)


def _united(ours: tuple[Verdict, ...], theirs: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    every: dict[str, Verdict] = {}
    for verdict in (*ours, *theirs):
        every.setdefault(json.dumps(verdict.to_json()), verdict)
    return tuple(every.values())
