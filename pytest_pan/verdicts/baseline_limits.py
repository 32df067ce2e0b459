"""Limits relative to baselines: bounds, verdicts, comparison with the baseline, its update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_pan.config.limits import RelativeBound, parse_relative
from pytest_pan.config.options import update_command
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.changes import BaselineComparison, MeasureChange
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.records.measures import Interval, Measured
from pytest_pan.verdicts import baselines as baseline
from pytest_pan.verdicts import comparison
from pytest_pan.verdicts.baselines import Baselines
from pytest_pan.verdicts.certainty import interval_of
from pytest_pan.verdicts.judge import judge


@dataclass(frozen=True, slots=True)
class Updated:
    """Audits with their baseline comparisons, and error messages by error id."""

    audits: tuple[Audit, ...]
    errors: Mapping[str, str]


def judge_all(
    audit: Audit, limits: Iterable[Limit], baselines: Baselines | None
) -> tuple[Verdict, ...]:
    """Return a verdict on each limit; a limit relative to a missing baseline fails."""
    return tuple(_judge_one(audit, limit, baselines) for limit in limits)


def _judge_one(audit: Audit, limit: Limit, baselines: Baselines | None) -> Verdict:
    if not limit.relative:
        return judge(audit, (limit,))[0]
    resolved, why_not = resolve(audit, limit, baselines)
    if why_not or baselines is None:
        value = _audit_value(audit, limit)
        if value is None:  # the verdict already has the reason for that
            unknown = judge(audit, (resolved,))[0]
            return replace(unknown, outcome="fail", evidence=(*unknown.evidence, why_not))
        return Verdict(limit=resolved, value=value, outcome="fail", evidence=(why_not,))
    verdict = judge(
        audit,
        (resolved,),
        value_only=_why_value_only(audit, limit, baselines),
        bound_error=_bound_error(audit, limit, baselines),
    )[0]
    if verdict.outcome == "pass" or baselines.update:
        return verdict
    reasons = compare_with_baseline(audit, baselines).reasons
    changes = (f"changed since the baseline: {reason}" for reason in reasons)
    return replace(verdict, evidence=(*changes, *verdict.evidence))


def _why_value_only(audit: Audit, limit: Limit, baselines: Baselines) -> str:
    """Return why intervals over images do not matter; empty if they do."""
    old = baselines.bodies.get(str(audit.model["name"]), {}).get("images", {})
    keys = ("digest", "labels") if table.find(limit.measure).uses_labels else ("digest",)
    if baselines.update or all(old.get(key) == audit.images.get(key) for key in keys):
        return "both values come from the same images"
    return ""


def _baseline_interval(audit: Audit, limit: Limit, baselines: Baselines) -> Interval | None:
    """Return the baseline's interval of its value on very many images.

    Values of different images are compared by these intervals: the values themselves also differ
    in bias, which depends on the number of images. None for the same images, or if the audit or
    the baseline has no interval.
    """
    measured = audit.measures.get(limit.measure)
    if _why_value_only(audit, limit, baselines) or measured is None:
        return None
    body = baselines.bodies.get(str(audit.model["name"]), {"measures": {}, "images": {}})
    count = body["images"].get("count")
    scale = 1.0
    if table.find(limit.measure).is_image_count:  # scale to the audit's number of images
        if not isinstance(count, int) or count < 1:
            return None
        scale = audit.images["count"] / count
    found = interval_of(_measured_of(body, limit), limit)
    if found is None or interval_of(measured, limit) is None:
        return None
    return found[0] * scale, found[1] * scale


def _measured_of(body: Mapping[str, Any], limit: Limit) -> Measured:
    """Return the intervals of the limit's measure in a baseline, as a record."""
    old = _measured_body(body, limit)
    intervals = {part: _interval(pair) for part, pair in (old.get("intervals") or {}).items()}
    return Measured(
        measure=limit.measure,
        value=math.nan,
        sites=old.get("sites") or {},
        interval=_interval(old.get("interval")),
        intervals={part: ends for part, ends in intervals.items() if ends is not None},
    )


def _interval(pair: Any) -> Interval | None:
    """Return the interval of a file's JSON value; None if it is not a pair of finite numbers."""
    if not (isinstance(pair, list | tuple) and len(pair) == 2):
        return None
    is_valid = all(isinstance(end, int | float) and math.isfinite(end) for end in pair)
    return (float(pair[0]), float(pair[1])) if is_valid else None


def _bound_error(audit: Audit, limit: Limit, baselines: Baselines) -> float:
    """Return the half-width of the bound's interval, which it has from the baseline's."""
    ends = _baseline_interval(audit, limit, baselines)
    offset = parse_relative(limit.relative)
    if ends is None or offset is None:
        return 0.0
    half = (ends[1] - ends[0]) / 2
    return abs(offset.bound_for(half)) if offset.is_percent else half


def resolve(audit: Audit, limit: Limit, baselines: Baselines | None) -> tuple[Limit, str]:
    """Return the limit with a numeric bound and an empty text, or unchanged and why not.

    The bound is relative to the baseline's value of the same thing: the model, the class, or the
    worst of the layers that the glob matches. For other images it is relative to the middle of the
    baseline's interval. In a run that updates baselines it is relative to the audit's own value.
    """
    offset = parse_relative(limit.relative)
    if baselines is None or offset is None:
        return limit, f"{limit.relative}: this run has no baselines; set --pan-baseline=DIR"
    if baselines.update:
        file = baselines.file(str(audit.model["name"]))
        value, source = _audit_value(audit, limit), f"as written by this run to {file}"
        why_not = f"{limit.relative}: this run did not measure it"
    else:
        value, source, why_not = _baseline_value(audit, limit, baselines)
    if value is None:
        return limit, why_not
    return _with_bound(limit, offset, value, source), ""


def _with_bound(limit: Limit, offset: RelativeBound, value: float, source: str) -> Limit:
    text = table.find(limit.measure).text(value)
    origin = f"{limit.origin}: {limit.relative}, {text} {source}"
    return replace(limit, bound=offset.bound_for(value), origin=origin)


def _baseline_value(
    audit: Audit, limit: Limit, baselines: Baselines
) -> tuple[float | None, str, str]:
    """Return the value that a bound is relative to, its source, and the reason if it is None."""
    name = str(audit.model["name"])
    file, old = baselines.file(name), baselines.bodies.get(name)
    ends = _baseline_interval(audit, limit, baselines)
    if ends is not None:
        source = f"estimated for very many images from {file}, which has different images"
        return (ends[0] + ends[1]) / 2, source, ""
    missing = f"no baseline {file} yet" if old is None else f"{file} has no value for it"
    why_not = f"{limit.relative}: {missing}"
    if _audit_value(audit, limit) is not None:
        why_not += f"; {update_command(baselines.shown)} writes it"
    before = None if old is None else _value(_measured_body(old, limit), limit)
    # the file has rounded values: one that rounds to the same is unchanged
    rounded = _value(_measured_body(baseline.body_of(audit), limit), limit)
    return _audit_value(audit, limit) if before == rounded else before, f"in {file}", why_not


def _audit_value(audit: Audit, limit: Limit) -> float | None:
    """Return the audit's value at full precision."""
    measured = audit.measures.get(limit.measure)
    return None if measured is None else _value(measured.to_json(), limit)


def _measured_body(body: Mapping[str, Any], limit: Limit) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body["measures"].get(limit.measure, {})
    return found


def _value(measured: Mapping[str, Any], limit: Limit) -> float | None:
    """Return the limited value; None if it is undefined or missing."""
    values: list[float | None]
    if limit.target:
        values = [(measured.get("classes") or {}).get(limit.target)]
    elif limit.layer:
        sites = measured.get("sites") or {}
        values = [value for layer, value in sites.items() if limit.applies_to(layer)]
    else:
        values = [measured.get("value")]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return (max if limit.direction == "max" else min)(finite, default=None)


def compare_with_baseline(audit: Audit, baselines: Baselines) -> BaselineComparison:
    """Return the changes of measures and layers since the baseline, and what else differs."""
    name = str(audit.model["name"])
    file = baselines.file(name)
    old = baselines.bodies.get(name)
    if audit.partial:
        return BaselineComparison(file=file, missing="the audit is incomplete")
    if old is None:
        return BaselineComparison(file=file, missing="no baseline yet")
    before = baseline.restrict_to_probes(old, audit.settings.probes)
    after = baseline.body_of(audit)
    pair = comparison.pair(before, after)
    return BaselineComparison(
        file=file,
        rows=pair.rows,
        layers=tuple(_layer_changes(before, after)),
        differences=pair.differences,
    )


def _layer_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[MeasureChange]:
    """Yield the layers whose number of PANs changed, largest change first."""
    old, new = comparison.layers(before), comparison.layers(after)
    rows = [
        MeasureChange(
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


def compare_and_update(audits: Iterable[Audit], baselines: Baselines) -> Updated:
    """Compare each audit with its baseline and, in an updating run, write the new baseline.

    Writes only the files of complete audits with a unique name; leaves all other files alone.
    """
    audits = tuple(audits)
    by_name: dict[str, list[Audit]] = {}
    for audit in audits:
        if not audit.partial:
            by_name.setdefault(str(audit.model["name"]), []).append(audit)
    errors: dict[str, str] = {}
    updated = []
    for audit in audits:
        name = str(audit.model["name"])
        found, error = compare_with_baseline(audit, baselines), ""
        namesakes = by_name.get(name, [])
        if len(namesakes) > 1 and not audit.partial:
            found = BaselineComparison(file=found.file, missing=_ambiguous(namesakes))
            if baselines.update or any(v.limit.relative for a in namesakes for v in a.verdicts):
                error = f"{name}: {found.missing}"
        elif baselines.update:
            found, error = _update(audit, found, baselines)
        if error:
            errors[f"pan::baseline::{name}"] = error
        updated.append(replace(audit, baseline=found))
    return Updated(tuple(updated), errors)


def _ambiguous(namesakes: list[Audit]) -> str:
    return (
        f"{len(namesakes)} audits of this run have this name, but a baseline belongs to one: give "
        "them different names with the fixture pan_name or with pan(..., name=...)"
    )


def _update(
    audit: Audit, found: BaselineComparison, baselines: Baselines
) -> tuple[BaselineComparison, str]:
    """Write the audit's baseline; return the comparison with the result, and an error or ""."""
    name = str(audit.model["name"])
    if audit.partial:
        why_not = "NOT written: the audit is incomplete"
        return replace(found, written=why_not), f"{found.file}: {why_not}"
    body, lost = baseline.merge(baselines.bodies.get(name), baseline.body_of(audit))
    if lost:
        why_not = (
            f"NOT written: the file has {', '.join(lost)}, which this run did not measure, from "
            "other weights, images, settings or versions; update it in a run with all limits and "
            "probes, or delete it"
        )
    else:
        try:
            return replace(found, written=baseline.write(baselines, name, body)), ""
        except OSError as error:
            why_not = f"NOT written: {type(error).__name__}: {error}"
    return replace(found, written=why_not), f"{found.file}: {why_not}"
