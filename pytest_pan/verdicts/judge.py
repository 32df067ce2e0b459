"""Findings and limits in, verdicts out: no torch, no pytest, nothing hidden."""

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
from pytest_pan.verdicts.certainty import weigh

_WORST_LAYERS = 3
_WORST_NEURONS = 5


def judge(
    audit: Audit, limits: Iterable[Limit], *, alone: str = "", apart: float = 0.0
) -> tuple[Verdict, ...]:
    """A verdict on each limit; an undefined value fails, for nothing was shown to hold.

    ``alone`` says, if not empty, why it is the figures alone that are held against the limits,
    without their intervals. ``apart``: half the 95 % interval of the bounds themselves, which are
    reckoned from other images.
    """
    return tuple(_judge_one(audit, limit, alone, apart) for limit in limits)


def _judge_one(audit: Audit, limit: Limit, alone: str, apart: float) -> Verdict:
    value, missing = _value(audit, limit)
    if missing:
        return Verdict(limit=limit, value=value, outcome="fail", evidence=(missing,))
    found = weigh(audit, limit, value, alone=alone, apart=apart)
    outcome, lacking = found.outcome, _lacking(audit, limit)
    if outcome == "pass" and lacking:
        outcome = "fail" if any(s.best_outcome == "fail" for s in lacking) else "inconclusive"
        found = replace(found, basis=f"the figure lacks {len(lacking)} of what belongs to it")
    evidence = [f"not in the figure: {skip.what} ({skip.why})" for skip in lacking[:_WORST_LAYERS]]
    if len(lacking) > _WORST_LAYERS:
        evidence.append(f"and {len(lacking) - _WORST_LAYERS} more that belong to it")
    return Verdict(
        limit=limit,
        value=value,
        outcome=outcome,
        evidence=() if outcome == "pass" else (*evidence, *_evidence(audit, limit)),
        interval=found.interval,
        more_images=found.more_images,
        basis=found.basis,
    )


def _lacking(audit: Audit, limit: Limit) -> list[Skip]:
    """What belongs to the figure that a limit is about, and could not be examined."""
    probe = table.probe_of(limit.measure)
    return [
        skip
        for skip in audit.skips
        if skip.best_outcome != "pass"
        and skip.probe in ("", probe)
        and (not limit.layer or limit.binds(skip.what))
    ]


def _value(audit: Audit, limit: Limit) -> tuple[float, str]:
    """The figure that the limit is about, and why there is none if there is none (NaN)."""
    measured = audit.measures.get(limit.measure)
    if measured is None:
        probe = table.probe_of(limit.measure)
        needs = table.find(limit.measure).needs or "something that was not there"
        what = needs if probe in audit.settings.probes else f"the probe {probe!r}"
        return math.nan, f"not measured: it needs {what}"
    if limit.target:
        if limit.target not in measured.classes:
            close = difflib.get_close_matches(limit.target, measured.classes, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return math.nan, f"no class {limit.target!r} among {len(measured.classes)}{hint}"
        return measured.classes[limit.target], ""
    if limit.layer:
        by_site = _matching(measured, limit)
        if not by_site:
            return math.nan, _no_layer(audit, measured, limit)
        return (max if limit.direction == "max" else min)(by_site.values()), ""
    undefined = "undefined: no layer was examined" if math.isnan(measured.value) else ""
    return measured.value, undefined


def _matching(measured: Measured, limit: Limit) -> dict[str, float]:
    """The figures of the layers that a limit on a glob of layers bounds."""
    return {name: value for name, value in measured.sites.items() if limit.binds(name)}


def _no_layer(audit: Audit, measured: Measured, limit: Limit) -> str:
    """Why a glob bounds nothing, with the nearest names."""
    if any(fnmatchcase(name, limit.layer) for name in measured.sites):
        before = ", ".join(limit.earlier)
        return f"every layer that {limit.layer!r} matches is bounded by what is before it: {before}"
    skips = [f"{s.what} ({s.why})" for s in audit.skips if fnmatchcase(s.what, limit.layer)]
    if skips:
        return f"no examined layer matches {limit.layer!r}; not examined: {', '.join(skips[:3])}"
    plain = limit.layer.strip("*.?")
    close = difflib.get_close_matches(plain, measured.sites, n=3, cutoff=0.3)
    hint = ", ".join(close or list(measured.sites)[:3])
    return f"no examined layer matches {limit.layer!r}" + (f"; nearest: {hint}" if hint else "")


def _evidence(audit: Audit, limit: Limit) -> list[str]:
    """The layers with the highest figures and, for counts of PANs, the strongest neurons."""
    measure = table.find(limit.measure)
    name = measure.derived_from or limit.measure
    control = audit.measures[name].control
    if control is not None:
        return _control(audit, name, control)
    measured = audit.measures[limit.measure]
    by_site = _matching(measured, limit) if limit.layer else dict(measured.sites)
    if (limit.layer or measure.is_largest_layer) and limit.direction == "max":
        by_site = {name: value for name, value in by_site.items() if value > limit.bound}
    least_first = limit.layer and limit.direction == "min"
    worst = sorted(by_site.items(), key=lambda item: item[1] if least_first else -item[1])
    lines = [
        f"{name}: {measure.text(value)}"
        for name, value in worst[:_WORST_LAYERS]
        if value or limit.layer
    ]
    if not measure.counts_pans:
        return lines
    pans = sorted((n for n in audit.neurons if n.site in by_site), key=lambda n: -n.strength)
    for neuron in pans[:_WORST_NEURONS]:
        side = max(str(neuron.type), key=lambda s: max(neuron.ks_plus[s], neuron.ks_minus[s]))
        lines.append(
            f"{neuron.site} channel {neuron.channel} is a {neuron.type} PAN: on {side} "
            f"KS {neuron.ks[side]:.2f}, KS+ {neuron.ks_plus[side]:.2f}, "
            f"KS- {neuron.ks_minus[side]:.2f}"
        )
    return lines


def _control(audit: Audit, name: str, control: Control) -> list[str]:
    """What random neurons did, and for odds the classes that moved most."""
    text = table.find(name).text
    lines = []
    if control.draws:
        drawn = ", ".join(text(draw) for draw in control.draws)
        beaten = control.rank - 1
        lines.append(f"random neurons, as many a layer: {drawn}; {beaten} draws reach the PANs'")
    by_class = audit.measures[name].classes
    worst = sorted(by_class.items(), key=lambda item: -item[1])[:_WORST_NEURONS]
    lines += [f"class {name}: {text(value)}" for name, value in worst]
    return lines


def behind(audit: Audit) -> list[str]:
    """The layers and neurons behind an audit's figures, for an assertion that failed on them."""
    share = table.find("pan_fraction").text(audit.pan_fraction)
    whole = Limit(measure="pan_fraction", direction="max", bound=0.0, origin="")
    return [
        f"{audit.model['name']}: {audit.pan_count} of {audit.neuron_count} neurons ({share}) in "
        f"{len(audit.sites)} layers are padding aware, on {audit.images['count']} images at theta "
        f"{audit.settings.theta}",
        *(f"  {line}" for line in _evidence(audit, whole)),
    ]


def explain(audit: Audit, verdict: Verdict, *, report: str = "") -> str:
    """A verdict that did not pass as a finding: value, limit, where from, what did it, how to look
    closer.
    """
    limit = verdict.limit
    measure = table.find(limit.measure)
    relation = "is above" if limit.direction == "max" else "is below"
    if verdict.outcome == "inconclusive":
        relation = "cannot be told from"
    beyond = (
        verdict.value > limit.bound if limit.direction == "max" else verdict.value < limit.bound
    )
    if verdict.outcome == "fail" and not beyond:  # unknown, or not all of it is known
        relation = "cannot be held against"
    lines = [
        f"{audit.model['name']}: {limit.subject} {measure.text(verdict.value)} {relation} "
        f"{limit.keyword} = {measure.text(limit.bound)} ({limit.origin})",
        f"  {audit.pan_count} of {audit.neuron_count} neurons in {len(audit.sites)} layers are "
        f"padding aware, on {audit.images['count']} images at theta {audit.settings.theta}",
        *([f"  {verdict.basis}"] if verdict.basis else []),
        *(f"  {line}" for line in verdict.evidence),
        f"  look closer: {report or 'add --pan-report=html to the command'}",
    ]
    return "\n".join(lines)
