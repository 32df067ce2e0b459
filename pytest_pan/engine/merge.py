"""One report of several: audits put together as the controller does within a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from pytest_pan.engine.audits import key
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Collected, RunSummary, summarize
from pytest_pan.records.limits import Verdict

_OF_A_RUN = ("verdicts", "seconds", "environment", "cached", "baseline", "images", "settings")
"""What may differ between two runs that found the same, or does not where the key is the same."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The audits, how many were there already, and the models with more than one finding."""

    audits: tuple[Audit, ...]
    same: int
    conflicting: tuple[str, ...]


def merge(audits: Iterable[Audit]) -> Merged:
    """Each audit once, in the order of their coming, with the verdicts of all its copies.

    Two of the same network on the same images with the same settings (:func:`ledger.key`) that
    found different figures are both kept: neither is known to be the right one.
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
    """What was expected of all these runs and what came of it, in sums; of the audits, which are
    the merged ones, each once. None where a run does not say.
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
    """All that it found, as text: there, unlike among numbers, undefined equals undefined. Files
    that were skipped are named from the folder on, which may lie elsewhere on each machine.
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
