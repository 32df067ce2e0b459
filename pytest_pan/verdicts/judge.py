"""Check audits against limits, and explain the verdicts. Pure functions of the records."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.records.measures import Control, Measured
from pytest_pan.records.text import cut, escaped, line, plural
from pytest_pan.verdicts.certainty import decide

_MAX_LAYERS = 3
_MAX_NEURONS = 5
_MAX_CLASSES = 5
"""Layers, neurons and classes that a verdict lists."""


def judge(
    audit: Audit, limits: Iterable[Limit], *, value_only: str = "", bound_error: float = 0.0
) -> tuple[Verdict, ...]:
    """Return a verdict on each limit; an undefined value fails.

    ``value_only`` and ``bound_error`` are those of :func:`certainty.decide`.
    """
    return tuple(_judge_one(audit, limit, value_only, bound_error) for limit in limits)


def _judge_one(audit: Audit, limit: Limit, value_only: str, bound_error: float) -> Verdict:
    value, missing = _value(audit, limit)
    if missing:
        return Verdict(limit=limit, value=value, outcome="fail", evidence=(missing,))
    found = decide(audit, limit, value, value_only=value_only, bound_error=bound_error)
    outcome, left_out = found.outcome, _left_out(audit, limit)
    if outcome == "pass" and left_out:
        outcome = "fail" if any(s.best_outcome == "fail" for s in left_out) else "inconclusive"
        parts = plural(len(left_out), "part")
        basis = f"{parts} that the value should include could not be examined"
        found = replace(found, basis=basis)
    evidence = [f"not included: {skip.what} ({skip.why})" for skip in left_out[:_MAX_LAYERS]]
    if len(left_out) > _MAX_LAYERS:
        evidence.append(f"and {len(left_out) - _MAX_LAYERS} more not included")
    return Verdict(
        limit=limit,
        value=value,
        outcome=outcome,
        evidence=() if outcome == "pass" else (*evidence, *_evidence(audit, limit)),
        interval=found.interval,
        more_images=found.more_images,
        basis=found.basis,
    )


def _left_out(audit: Audit, limit: Limit) -> list[Skip]:
    """Return the skips that the limited value should have included."""
    probe = table.probe_of(limit.measure)
    return [
        skip
        for skip in audit.skips
        if skip.best_outcome != "pass"
        and skip.probe in ("", probe)
        and (not limit.layer or limit.applies_to(skip.what))
    ]


def _value(audit: Audit, limit: Limit) -> tuple[float, str]:
    """Return the limited value and an empty text, or NaN and why there is no value."""
    measured = audit.measures.get(limit.measure)
    if measured is None:
        probe = table.probe_of(limit.measure)
        failed = next((s.why for s in audit.skips if s.probe == s.what == probe), "")
        if failed:
            return math.nan, f"not measured: {failed}"
        needs = table.find(limit.measure).needs or "an input that this audit did not have"
        what = needs if probe in audit.settings.probes else f"the probe {probe!r}"
        return math.nan, f"not measured: it needs {what}"
    if limit.target:
        if limit.target not in measured.classes:
            return math.nan, _no_class(limit.target, list(measured.classes))
        return measured.classes[limit.target], ""
    if limit.layer:
        by_site = _matching(measured, limit)
        if not by_site:
            return math.nan, _no_layer(audit, measured, limit)
        return (max if limit.direction == "max" else min)(by_site.values()), ""
    why = table.find(limit.measure).undefined
    return measured.value, f"undefined: {why}" if math.isnan(measured.value) else ""


def _no_class(target: str, classes: list[str]) -> str:
    """Return that there is no such class, with the nearest names or the first ones."""
    words = [name for name in classes if target.lower() in name.lower()]
    close = difflib.get_close_matches(target, classes, n=1) or words[:1]
    hint = f"; did you mean {cut(close[0])!r}?" if close else ""
    if classes and not close:
        more = ", ..." if classes[_MAX_CLASSES:] else ""
        listed = ", ".join(repr(cut(name)) for name in classes[:_MAX_CLASSES])
        hint = f"; the classes are {listed}{more}"
    return f"no class {target!r} among {len(classes):,}{hint}"


def _matching(measured: Measured, limit: Limit) -> dict[str, float]:
    """Return the values of the layers that a limit with a layer glob bounds."""
    return {name: value for name, value in measured.sites.items() if limit.applies_to(name)}


def _no_layer(audit: Audit, measured: Measured, limit: Limit) -> str:
    """Return why a glob bounds no layer, with the most similar layer names."""
    if any(fnmatchcase(name, limit.layer) for name in measured.sites):
        earlier = ", ".join(limit.earlier)
        return f"every layer that {limit.layer!r} matches is bounded by an earlier glob: {earlier}"
    skips = [f"{s.what} ({s.why})" for s in audit.skips if fnmatchcase(s.what, limit.layer)]
    if skips:
        return f"no examined layer matches {limit.layer!r}; not examined: {', '.join(skips[:3])}"
    plain = limit.layer.strip("*.?")
    close = difflib.get_close_matches(plain, measured.sites, n=3, cutoff=0.3)
    hint = ", ".join(close or list(measured.sites)[:3])
    return f"no examined layer matches {limit.layer!r}" + (f"; nearest: {hint}" if hint else "")


def _evidence(audit: Audit, limit: Limit) -> list[str]:
    """Return lines with the worst layers and, for measures that count PANs, the strongest PANs."""
    measure = table.find(limit.measure)
    name = measure.derived_from or limit.measure
    control = audit.measures[name].control
    if control is not None:
        return _control_lines(audit, name, control, limit.target)
    measured = audit.measures[limit.measure]
    by_site = _matching(measured, limit) if limit.layer else dict(measured.sites)
    if (limit.layer or measure.is_largest_layer) and limit.direction == "max":
        by_site = {name: value for name, value in by_site.items() if value > limit.bound}
    least_first = limit.layer and limit.direction == "min"
    worst = sorted(by_site.items(), key=lambda item: item[1] if least_first else -item[1])
    lines = [
        f"{name}: {measure.text(value)}"
        for name, value in worst[:_MAX_LAYERS]
        if value or limit.layer
    ]
    if not measure.counts_pans:
        return lines
    pans = sorted((n for n in audit.neurons if n.site in by_site), key=lambda n: -n.strength)
    for neuron in pans[:_MAX_NEURONS]:
        side = max(str(neuron.type), key=lambda s: max(neuron.ks_plus[s], neuron.ks_minus[s]))
        lines.append(
            f"{neuron.site} channel {neuron.channel} is a {neuron.type} PAN: on {side} "
            f"KS {neuron.ks[side]:.2f}, KS+ {neuron.ks_plus[side]:.2f}, "
            f"KS- {neuron.ks_minus[side]:.2f}"
        )
    return lines


def _control_lines(audit: Audit, name: str, control: Control, target: str) -> list[str]:
    """Return lines with the control's draws and the classes with the largest values.

    For a limit on one class, that class comes first and no other is listed.
    """
    text, measured = table.find(name).text, audit.measures[name]
    lines = _class_lines(measured, target) if target else []
    if control.draws and not measured.class_draws.get(target):
        draws = ", ".join(text(draw) for draw in control.draws)
        beside = "as many per layer"
        if control.drawn != control.pans:
            beside = f"{control.drawn} for {control.pans} PANs, as some layers have too few others"
        largest = ", largest of any class" if target else ""
        said = f"random neurons, {beside}{largest}: {draws}"
        if control.is_fair and not target:
            reached = f"{control.rank - 1} of {plural(len(control.draws), 'draw')}"
            said += f"; {reached} reach the PANs' value"
        lines.append(said)
    if not target:
        lines += [
            f"class {name}: {text(value)}{_support_text(measured, name)}"
            for name, value in _worst_classes(audit, measured)
        ]
    return lines


def _worst_classes(audit: Audit, measured: Measured) -> list[tuple[str, float]]:
    """Return the classes with the largest values among those with support."""
    least = audit.settings.support
    supported = [
        (name, value)
        for name, value in measured.classes.items()
        if measured.support.get(name, least) >= least
    ]
    return sorted(supported, key=lambda item: -item[1])[:_MAX_CLASSES]


def _support_text(measured: Measured, name: str) -> str:
    support = measured.support.get(name)
    return "" if support is None else f", support {support:.3g}"


def _class_lines(measured: Measured, target: str) -> list[str]:
    """Return lines with a class's own figure, interval and draws."""
    text, ends = table.find(measured.measure).text, measured.intervals.get(target)
    interval = f", 95 % interval {text(ends[0])} to {text(ends[1])}" if ends else ""
    draws = measured.class_draws.get(target, ())
    return [
        f"class {target}: {text(measured.classes[target])}{interval}"
        f"{_support_text(measured, target)}",
        *([f"random neurons, same class: {', '.join(map(text, draws))}"] if draws else []),
    ]


def summarize(audit: Audit) -> list[str]:
    """Return lines with an audit's PANs and worst layers, to add to a failed assertion."""
    any_pan = Limit(measure="pan_fraction", direction="max", bound=0.0, origin="")
    fraction = table.find("pan_fraction").text(audit.pan_fraction)
    found = [f"{audit.model['name']}: {_extent(audit, f' ({fraction})')}"]
    return [line(text) for text in (*found, *(f"  {text}" for text in _evidence(audit, any_pan)))]


def _extent(audit: Audit, fraction: str = "") -> str:
    is_one = audit.neuron_count == 1
    return (
        f"{audit.pan_count:,} of {plural(audit.neuron_count, 'neuron')}{fraction} in "
        f"{plural(len(audit.sites), 'layer')} {'is' if is_one else 'are'} padding aware, on "
        f"{plural(audit.images['count'], 'image')} at theta {audit.settings.theta}"
    )


def bound_text(limit: Limit) -> str:
    """Return the bound in its measure's unit, or that its baseline has no value yet."""
    if limit.relative and math.isnan(limit.bound):
        return f"{limit.relative}, no baseline yet"
    return table.text(limit.measure, limit.bound)


def explain(audit: Audit, verdict: Verdict, *, report: str = "") -> str:
    """Explain a verdict that did not pass: value, limit, origin, evidence, where to see more."""
    limit = verdict.limit
    measure = table.find(limit.measure)
    relation = "is above" if limit.direction == "max" else "is below"
    if verdict.outcome == "inconclusive":
        relation = "is inconclusive against"
    beyond = (
        verdict.value > limit.bound if limit.direction == "max" else verdict.value < limit.bound
    )
    if verdict.outcome == "fail" and not beyond:  # undefined or incomplete
        relation = "cannot be checked against"
    lines = [
        f"{audit.model['name']}: {limit.subject} {measure.text(verdict.value)} {relation} "
        f"{limit.keyword} = {bound_text(limit)} ({limit.origin})",
        f"  {_extent(audit)}",
        *([f"  {verdict.basis}"] if verdict.basis else []),
        *(f"  {text}" for text in verdict.evidence),
    ]
    look = f"  look closer: {report or 'add --pan-report=html to the command'}"
    return "\n".join([*map(line, lines), escaped(look)])
