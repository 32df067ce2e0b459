"""Findings and limits in, verdicts out: no torch, no pytest, nothing hidden."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_pan import measures
from pytest_pan.records import Audit, Limit, Verdict

_WORST_LAYERS = 3
_WORST_NEURONS = 5


def judge(audit: Audit, limits: Iterable[Limit]) -> tuple[Verdict, ...]:
    """A verdict on each limit; an undefined value fails, for nothing was shown to hold."""
    return tuple(_judge_one(audit, limit) for limit in limits)


def _judge_one(audit: Audit, limit: Limit) -> Verdict:
    value = audit.measures[limit.measure].value
    within = value <= limit.bound if limit.direction == "max" else value >= limit.bound
    return Verdict(
        limit=limit,
        value=value,
        outcome="pass" if within else "fail",
        evidence=() if within else tuple(_evidence(audit, limit)),
    )


def _evidence(audit: Audit, limit: Limit) -> list[str]:
    """The layers with the highest figures and, for counts of PANs, the strongest neurons."""
    measure = measures.find(limit.measure)
    if math.isnan(audit.measures[limit.measure].value):
        return ["undefined: no layer was examined"]
    by_site = dict(audit.measures[limit.measure].sites)
    if limit.measure.startswith("layer") and limit.direction == "max":
        by_site = {name: value for name, value in by_site.items() if value > limit.bound}
    worst = sorted(by_site.items(), key=lambda item: -item[1])[:_WORST_LAYERS]
    lines = [f"{name}: {measure.text(value)}" for name, value in worst if value]
    if "pan" not in limit.measure.split("_"):
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


def explain(audit: Audit, verdict: Verdict, *, report: str = "") -> str:
    """A failed verdict as a finding: value, limit, where from, what did it, how to look closer."""
    limit = verdict.limit
    measure = measures.find(limit.measure)
    relation = "is above" if limit.direction == "max" else "is below"
    lines = [
        f"{audit.model['name']}: {limit.measure} {measure.text(verdict.value)} {relation} "
        f"{limit.keyword} = {measure.text(limit.bound)} ({limit.origin})",
        f"  {audit.pan_count} of {audit.neuron_count} neurons in {len(audit.sites)} layers are "
        f"padding aware, on {audit.images['count']} images at theta {audit.settings.theta}",
        *(f"  {line}" for line in verdict.evidence),
        f"  look closer: {report or 'add --pan-report=html to the command'}",
    ]
    return "\n".join(lines)
