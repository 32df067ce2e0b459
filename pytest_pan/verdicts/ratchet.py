"""Audits against their baselines: bounds relative to them, what changed and why, the update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_pan.config.limits import parse_relative
from pytest_pan.config.options import UPDATE
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.changes import Compared, Row
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.records.measures import Interval, Measured
from pytest_pan.verdicts import baselines as baseline
from pytest_pan.verdicts import comparison
from pytest_pan.verdicts.baselines import Baselines
from pytest_pan.verdicts.certainty import interval_of
from pytest_pan.verdicts.judge import judge


@dataclass(frozen=True, slots=True)
class Kept:
    """Audits with their comparison, and what could not be done, by id of the error."""

    audits: tuple[Audit, ...]
    errors: Mapping[str, str]


def hold(audit: Audit, limits: Iterable[Limit], baselines: Baselines | None) -> tuple[Verdict, ...]:
    """A verdict on each limit; one relative to a baseline that is not there fails and says so."""
    return tuple(_hold(audit, limit, baselines) for limit in limits)


def _hold(audit: Audit, limit: Limit, baselines: Baselines | None) -> Verdict:
    if not limit.relative:
        return judge(audit, (limit,))[0]
    resolved, why = resolve(audit, limit, baselines)
    if why or baselines is None:
        value = _own(audit, limit)
        if value is None:  # which has a reason of its own
            unknown = judge(audit, (resolved,))[0]
            return replace(unknown, outcome="fail", evidence=(*unknown.evidence, why))
        return Verdict(limit=resolved, value=value, outcome="fail", evidence=(why,))
    alone, apart = _paired(audit, limit, baselines), _margin(audit, limit, baselines)
    verdict = judge(audit, (resolved,), alone=alone, apart=apart)[0]
    if verdict.outcome == "pass" or baselines.update:
        return verdict
    reasons = (f"changed since the baseline: {one}" for one in compared(audit, baselines).reasons)
    return replace(verdict, evidence=(*reasons, *verdict.evidence))


def _paired(audit: Audit, limit: Limit, baselines: Baselines) -> str:
    """Why an interval over images has no say; empty where it has."""
    old = baselines.bodies.get(str(audit.model["name"]), {}).get("images", {})
    keys = ("digest", "labels") if table.find(limit.measure).uses_labels else ("digest",)
    if baselines.update or all(old.get(key) == audit.images.get(key) for key in keys):
        return "both figures are of the same images"
    return ""


def _in_general(audit: Audit, limit: Limit, baselines: Baselines) -> Interval | None:
    """The baseline's interval of the figure that very many images would give, where that is what
    to compare with: other images give another figure, and as many more or fewer another bias.
    """
    measured = audit.measures.get(limit.measure)
    if _paired(audit, limit, baselines) or measured is None:
        return None
    body = baselines.bodies.get(str(audit.model["name"]), {"measures": {}, "images": {}})
    old, count = _measured(body, limit), body["images"].get("count")
    if table.find(limit.measure).is_image_count:  # of as many images as there are here
        if not isinstance(count, int) or count < 1:
            return None
        times = audit.images["count"] / count
    else:
        times = 1.0
    found = interval_of(
        Measured(
            measure=limit.measure,
            value=math.nan,
            sites=old.get("sites") or {},
            interval=_ends(old.get("interval")),
            intervals={
                part: ends
                for part, pair in (old.get("intervals") or {}).items()
                if (ends := _ends(pair)) is not None
            },
        ),
        limit,
    )
    if found is None or interval_of(measured, limit) is None:
        return None
    return found[0] * times, found[1] * times


def _ends(pair: Any) -> Interval | None:
    """Two numbers as a file may have them."""
    if not (isinstance(pair, list | tuple) and len(pair) == 2):
        return None
    known = all(isinstance(end, int | float) and math.isfinite(end) for end in pair)
    return (float(pair[0]), float(pair[1])) if known else None


def _margin(audit: Audit, limit: Limit, baselines: Baselines) -> float:
    """How far the bound may lie from what it was reckoned as: half the baseline's interval, with
    the share that was added to it.
    """
    ends, amount = _in_general(audit, limit, baselines), parse_relative(limit.relative)
    if ends is None or amount is None:
        return 0.0
    half = (ends[1] - ends[0]) / 2
    return abs(amount.of(half)) if amount.is_share else half


def resolve(audit: Audit, limit: Limit, baselines: Baselines | None) -> tuple[Limit, str]:
    """The limit with its bound as a number and the text of where that is from; else why not.

    A share is of the baseline's figure of the same thing: of the whole model, of that class, of
    the worst of the layers that the glob matches; on other images, of the middle of its interval,
    as figures of different images have that in common. A run that updates the baseline holds its
    limits against the figures that it writes.
    """
    amount = parse_relative(limit.relative)
    name = str(audit.model["name"])
    if baselines is None or amount is None:
        return (
            limit,
            f"{limit.relative}: this run has no baselines; name them by --pan-baseline=DIR",
        )
    file = baselines.file(name)
    own = _own(audit, limit)
    now = _figure(_measured(baseline.body_of(audit), limit), limit)
    if baselines.update:
        figure, said = own, f"as this run writes it to {file}"
        why = f"{limit.relative}: no such figure in this run"
    else:
        old = baselines.bodies.get(name)
        why = f"{limit.relative}: " + (
            f"no baseline {file} yet" if old is None else f"{file} has no figure of that"
        )
        why += f"; pytest --pan-audit {UPDATE} writes it"
        before = None if old is None else _figure(_measured(old, limit), limit)
        # the file has rounded figures: one that rounds to the same is the same
        figure, said = (own if before == now else before), f"in {file}"
        ends = _in_general(audit, limit, baselines)
        if ends is not None:
            figure = (ends[0] + ends[1]) / 2
            said = f"as very many images would give it by {file}, which is of others than these"
    if figure is None:
        return limit, why
    text = table.find(limit.measure).text(figure)
    origin = f"{limit.origin}: {limit.relative}, {text} {said}"
    return replace(limit, bound=amount.of(figure), origin=origin), ""


def _own(audit: Audit, limit: Limit) -> float | None:
    """The audit's own figure, with all its digits."""
    measured = audit.measures.get(limit.measure)
    return None if measured is None else _figure(measured.to_json(), limit)


def _measured(body: Mapping[str, Any], limit: Limit) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body["measures"].get(limit.measure, {})
    return found


def _figure(measured: Mapping[str, Any], limit: Limit) -> float | None:
    """The figure that a limit is about; None where it is undefined or not there."""
    found: list[float | None]
    if limit.target:
        found = [(measured.get("classes") or {}).get(limit.target)]
    elif limit.layer:
        sites = measured.get("sites") or {}
        found = [value for layer, value in sites.items() if limit.binds(layer)]
    else:
        found = [measured.get("value")]
    known = [value for value in found if value is not None and math.isfinite(value)]
    return (max if limit.direction == "max" else min)(known, default=None)


def compared(audit: Audit, baselines: Baselines) -> Compared:
    """What is better, worse or otherwise not as in the baseline, and what else has changed."""
    name = str(audit.model["name"])
    file = baselines.file(name)
    old = baselines.bodies.get(name)
    if audit.partial:
        return Compared(file=file, missing="the audit is incomplete")
    if old is None:
        return Compared(file=file, missing="no baseline yet")
    before, after = baseline.restricted(old, audit.settings.probes), baseline.body_of(audit)
    pair = comparison.pair(before, after)
    return Compared(
        file=file,
        rows=pair.rows,
        layers=tuple(_layers(before, after)),
        differences=pair.differences,
    )


def _layers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Row]:
    """The layers with another number of PANs, those that changed most first."""
    old, new = comparison.layers(before), comparison.layers(after)
    rows = [
        Row(
            "pan_count",
            old[layer],
            new[layer],
            "worse" if new[layer] > old[layer] else "better",
            layer,
        )
        for layer in new
        if layer in old and new[layer] != old[layer]
    ]
    yield from sorted(rows, key=lambda row: -abs((row.after or 0) - (row.before or 0)))


def keep(audits: Iterable[Audit], baselines: Baselines) -> Kept:
    """Compares each audit with its baseline and, where the run is to, writes the new one.

    Only files of audits that are complete are written; no other is touched.
    """
    every = tuple(audits)
    named: dict[str, list[Audit]] = {}
    for audit in every:
        if not audit.partial:
            named.setdefault(str(audit.model["name"]), []).append(audit)
    errors: dict[str, str] = {}
    kept = []
    for audit in every:
        name = str(audit.model["name"])
        found = compared(audit, baselines)
        twins = named.get(name, [])
        if len(twins) > 1 and not audit.partial:
            missing = (
                f"{len(twins)} audits of this run have this name and a baseline is one's: name "
                "them apart by the fixture pan_name, or by pan(..., name=...)"
            )
            found = Compared(file=found.file, missing=missing)
            if baselines.update or any(v.limit.relative for twin in twins for v in twin.verdicts):
                errors[f"pan::baseline::{name}"] = f"{name}: {missing}"
        elif baselines.update:
            found, error = _updated(audit, found, baselines)
            errors |= {f"pan::baseline::{name}": error} if error else {}
        kept.append(replace(audit, baseline=found))
    return Kept(tuple(kept), errors)


def _updated(audit: Audit, found: Compared, baselines: Baselines) -> tuple[Compared, str]:
    """Writes the audit's baseline; what became of it, and the error if nothing did."""
    name = str(audit.model["name"])
    if audit.partial:
        why = "NOT written: the audit is incomplete"
        return replace(found, written=why), f"{found.file}: {why}"
    body, lost = baseline.united(baselines.bodies.get(name), baseline.body_of(audit))
    if lost:
        why = (
            f"NOT written: it has {', '.join(lost)}, which this run did not measure, of other "
            "weights, images, settings or versions; update it in a run with all limits and "
            "probes, or delete it"
        )
    else:
        try:
            return replace(found, written=baseline.write(baselines, name, body)), ""
        except OSError as error:
            why = f"NOT written: {type(error).__name__}: {error}"
    return replace(found, written=why), f"{found.file}: {why}"
