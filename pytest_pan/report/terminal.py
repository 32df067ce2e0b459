"""The terminal section: plain lines, the same figures as on every other surface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_pan import measures
from pytest_pan.records import Audit, Verdict
from pytest_pan.report import beside

_LAYERS = 5


def lines(audits: Sequence[Audit]) -> Iterator[str]:
    """All audits, one after another."""
    for audit in audits:
        yield from _audit(audit)


def _audit(audit: Audit) -> Iterator[str]:
    name = audit.model["name"]
    if audit.partial:
        yield f"{name}: PARTIAL, {audit.partial}"
    yield f"{name}: {extent(audit)}"
    if audit.seconds:
        yield "  " + _pace(audit)
    types = [f"{kind} {count}" for kind, count in audit.type_counts.items() if count]
    if types:
        yield "  types: " + ", ".join(types)
        yield "  layers with most PANs:"
        yield from _layers(audit)
    yield from convergence(audit)
    yield from _influence(audit)
    yield from _intrusion(audit)
    if audit.skips:
        yield f"  not examined: {len(audit.skips)} ({_reasons(audit)})"
    for note in audit.notes:
        yield f"  note: {note}"
    if audit.baseline:
        yield "  " + beside.headline(audit.baseline)
        yield from (f"    {line}" for line in beside.lines(audit.baseline))
    for verdict in audit.verdicts:
        yield "  " + verdict_line(verdict)
        if verdict.basis:
            yield f"    {verdict.basis}"


def convergence(audit: Audit) -> Iterator[str]:
    """``PANs by number of images: 203 at 20, 175 at 40, 163 at 80, 153 at 160; ...``"""
    if not audit.convergence:
        return
    steps = ", ".join(f"{step.pan_count:.0f} at {step.images}" for step in audit.convergence)
    shares = [neuron.stability for neuron in audit.neurons if neuron.stability is not None]
    unstable = sum(share < 0.5 for share in shares)
    yield (
        f"  PANs by number of images: {steps}; {unstable} of {len(shares)} are none in most random "
        "halves of the images"
    )


def extent(audit: Audit) -> str:
    """``155 PANs among 7,168 neurons (2.16 %) in 18 layers, 160 images, theta 0.5``"""
    share = measures.find("pan_fraction").text(audit.measures["pan_fraction"].value)
    return (
        f"{audit.pan_count} PANs among {audit.neuron_count:,} neurons ({share}) in "
        f"{len(audit.sites)} layers, {audit.images['count']} images, theta {audit.settings.theta}"
    )


def _pace(audit: Audit) -> str:
    """``12.3 images/s: load 1.0 s, forward 6.0 s, statistics 6.0 s (cached)``"""
    stages = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in audit.seconds.items())
    return f"{audit.images_per_second:.1f} images/s: {stages}" + " (cached)" * audit.cached


def _influence(audit: Audit) -> Iterator[str]:
    """What swapping the PANs' padding does, each figure beside the random draws'."""
    shown = ("log_odds_shift", "classes_shifted", "prediction_flips", "sample_influence")
    found = [audit.measures[name] for name in (*shown, "accuracy_drop") if name in audit.measures]
    if not audit.influence:
        return
    first = audit.influence[0]
    swapped, draws = first.plan, [i for i in audit.influence if i.plan.seed is not None]
    yield f"  with the padding of the PANs swapped ({swapped.name}; random draws: {len(draws)}):"
    for measured in found:
        text = measures.find(measured.measure).text
        control = measured.control
        beside = ""
        if control is not None and control.draws:
            beside = "  random neurons " + ", ".join(map(text, control.draws))
        yield f"    {measured.measure:<17} {text(measured.value):>8}{beside}"
    for name in ("pan_floor", "nascent_fraction", "downstream_fraction"):
        if name in audit.measures:
            text = measures.find(name).text
            yield f"    {name:<17} {text(audit.measures[name].value):>8}"


def _intrusion(audit: Audit) -> Iterator[str]:
    """The line of zeros inside the image that changes most, with who fires on it."""
    if not audit.intrusion:
        return
    worst = max(audit.intrusion, key=lambda each: each.prediction_flips or 0)
    flips = "" if worst.prediction_flips is None else f", {worst.prediction_flips} predictions flip"
    fired = " and ".join(
        f"{100 * share:.1f} % of {who}"
        for who, share in (("PANs", worst.pans_fired), ("others", worst.others_fired))
        if share is not None
    )
    yield (
        f"  a {worst.axis} of zeros inserted at {worst.position:g} of the image{flips}"
        + (f"; {fired} fire" if fired else "")
    )


def _layers(audit: Audit) -> Iterator[str]:
    counts = audit.measures["pan_count"].sites
    worst = sorted((s for s in audit.sites if counts[s.name]), key=lambda s: -counts[s.name])
    width = max(len(site.name) for site in worst[:_LAYERS])
    for site in worst[:_LAYERS]:
        count = counts[site.name]
        height, across = site.map
        weak = ", low reliability" if site.reliability == "low" else ""
        yield (
            f"    {site.name:<{width}} {count:4.0f} of {site.channels:4} "
            f"({100 * count / site.channels:4.1f} %) on {height}x{across}{weak}"
        )


def _reasons(audit: Audit) -> str:
    counts: dict[str, int] = {}
    for skip in audit.skips:
        counts[skip.why] = counts.get(skip.why, 0) + 1
    return ", ".join(f"{count} {why}" for why, count in counts.items())


def verdict_line(verdict: Verdict) -> str:
    """``PASS pan_fraction 2.12 % (max 3.00 %)  marker of ...``"""
    limit = verdict.limit
    text = measures.find(limit.measure).text
    return (
        f"{verdict.outcome.upper()} {limit.subject} {text(verdict.value)} "
        f"({limit.direction} {text(limit.bound)})  {limit.origin}"
    )
