"""Tables 1 to 3 and Figures 9 and 10 of the paper, as text, from audits. No torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_pan.probes.influence.records import Influence, class_label
from pytest_pan.records.audit import Audit
from pytest_pan.records.neurons import PAN_TYPES
from pytest_pan.records.text import plural
from pytest_pan.reproduction.published import (
    ABOVE,
    BELOW,
    BEYOND,
    EXTREMES,
    NEGATIVE,
    POSITIVE,
    Published,
)

LISTED = 25
"""Classes listed of each kind, as in Table 3."""
STEP = 0.05
"""Width of a bin of Figure 10, in log-odds."""


def lines(name: str, audit: Audit, published: Published | None) -> Iterator[str]:
    """Yield the text for one network; ``published``: None for one that is not in the paper."""
    images = audit.images["count"]
    yield f"{name}: {plural(images, 'image')}, theta {audit.settings.theta:g}"
    yield from _layers(audit, published)
    yield from _types(audit, published)
    influence = audit.findings.get("influence")
    plans: Sequence[Influence] = getattr(influence, "plans", ())
    if plans and plans[0].log_odds:
        yield from _classes(audit, plans[0], published)
        yield from _changes(plans, published)
    else:
        yield "  Table 3, Figures 9 and 10: no outputs with classes"


def _layers(audit: Audit, published: Published | None) -> Iterator[str]:
    """Table 1: PANs by layer."""
    yield "  Table 1: PANs by layer"
    counts = Counter(neuron.site for neuron in audit.neurons)
    width = max((len(site.name) for site in audit.sites), default=0)
    for site in audit.sites:
        count = counts[site.name]
        share = 100 * count // site.channels
        yield f"    {site.name:{width}}  {count:4} of {site.channels:5,}  {share:3} %"
    neurons = sum(site.channels for site in audit.sites)
    text = f"{audit.pan_count} of {neurons:,} ({100 * audit.pan_fraction:.2f} %)"
    yield f"    all layers: {text}{_beside(published)}"


def _beside(published: Published | None) -> str:
    if published is None:
        return ""
    if published.neurons is None:
        return f"; published {published.count}"
    share = 100 * published.count / published.neurons
    return f"; published {published.count} of {published.neurons:,} ({share:.2f} %)"


def _types(audit: Audit, published: Published | None) -> Iterator[str]:
    """Table 2: PANs by type."""
    yield "  Table 2: PANs by type"
    yield "    " + "".join(f"{kind:>6}" for kind in PAN_TYPES)
    yield "    " + "".join(f"{count:6}" for count in audit.type_counts.values()) + "  measured"
    if published is not None:
        yield "    " + "".join(f"{count:6}" for count in published.types) + "  published"


def supported(audit: Audit, classes: int) -> list[int]:
    """Return the classes with enough support for odds, by number."""
    measured = audit.measures.get("log_odds_shift")
    support = {} if measured is None else measured.support
    least = audit.settings.support
    return [i for i in range(classes) if support.get(class_label(audit.classes, i), 0.0) >= least]


def _classes(audit: Audit, pan: Influence, published: Published | None) -> Iterator[str]:
    """Table 3: classes whose odds change by more than 7 %."""
    chosen = supported(audit, len(pan.log_odds))
    odds = {index: math.exp(pan.log_odds[index]) for index in chosen}
    below = sorted((i for i in odds if 1 / odds[i] > 1 + BEYOND), key=odds.__getitem__)
    above = sorted((i for i in odds if odds[i] > 1 + BEYOND), key=lambda i: -odds[i])
    yield (
        f"  Table 3: classes whose odds change by more than {100 * BEYOND:.0f} % under "
        f"PAN-reflect, of {plural(len(chosen), 'class')} with support"
    )
    for title, found in (("below 1", below), ("above 1", above)):
        text = ", ".join(f"{class_label(audit.classes, i)} {odds[i]:.2f}" for i in found[:LISTED])
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        yield f"    {title}: {len(found)}{': ' if text else ''}{text}{more}"
    if published is not None and published.title == "ResNet-50":
        yield (
            f"    published, ImageNet validation: {BELOW} below 1 ({EXTREMES[0]} ...), {ABOVE} "
            f"above ({EXTREMES[1]} ...)"
        )


def _changes(plans: Sequence[Influence], published: Published | None) -> Iterator[str]:
    """Figures 9 and 10: change in log-odds of all classes, ordered, and as a histogram."""
    shown = [("PAN-reflect", plans[0])]
    shown += [("RAND-reflect", plan) for plan in plans[1:] if plan.plan.seed is not None][:1]
    yield "  Figure 9: change in log-odds, all classes in order: deciles"
    for title, plan in shown:
        ordered = sorted(plan.log_odds)
        last = len(ordered) - 1
        tenths = (ordered[round(last * tenth / 10)] for tenth in range(11))
        yield f"    {title:12} " + " ".join(f"{value:+.3f}" for value in tenths)
    yield f"  Figure 10: classes by change in log-odds, in steps of {STEP:g}"
    for title, plan in shown:
        bins = Counter(math.floor(value / STEP) for value in plan.log_odds)
        steps = (f"{STEP * at:+.2f}: {bins[at]}" for at in sorted(bins))
        yield f"    {title:12} " + ", ".join(steps)
        down = sum(value < -STEP for value in plan.log_odds)
        up = sum(value > STEP for value in plan.log_odds)
        text = f"    {title:12} {down} classes below {-STEP:g}, {up} above {STEP:g}"
        if published is not None and published.title == "ResNet-50" and title == "PAN-reflect":
            text += f"; published {NEGATIVE} and {POSITIVE}"
        yield text
