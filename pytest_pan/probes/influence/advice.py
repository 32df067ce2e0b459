"""What to do about PANs, from the effect of swapping their padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pytest_pan.probes.influence.records import Influence, InfluenceFindings
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit
from pytest_pan.records.text import plural

LAYERS = 3


def advice(audit: Audit) -> Iterator[Advice]:
    """Yield what to do if PANs move the odds further than random neurons, or may do so."""
    ratio, found = audit.measures.get("log_odds_ratio"), audit.findings["influence"]
    if ratio is None or ratio.interval is None or not isinstance(found, InfluenceFindings):
        return
    low, high = ratio.interval
    counts = Counter(neuron.site for neuron in audit.neurons).most_common(LAYERS)
    layers = ", ".join(f"{site} ({count})" for site, count in counts)
    times = f"{ratio.value:.2g} times as far as random neurons of the same layers"
    pans = plural(audit.pan_count, "PAN")
    if low > 1:
        yield Advice(
            what="Give the PANs another padding (pytest_pan.repad(model, audit)) and fine-tune the "
            "copy.",
            evidence=f"{pans}, most of them in {layers}, move the odds of classes {times}, at "
            f"least {low:.2g}.",
            effect=_effect(found.plans),
            weight=min(1.0, 0.5 + 0.1 * low),
        )
    elif high > 1:
        yield Advice(
            what="Ask for more images or more random draws (--pan-draws=10) before you change the "
            "padding.",
            evidence=f"{pans} move the odds of classes {times}, and the 95 % interval "
            f"{low:.2g} to {high:.2g} does not exclude chance.",
            effect=_effect(found.plans),
            weight=0.2,
        )


def _effect(plans: tuple[Influence, ...]) -> str:
    """Return what the swap of the PANs' padding, and of every layer's, did without training."""
    pan, every = plans[0], plans[-1]
    if pan.accuracy is not None and pan.accuracy_before is not None and every.accuracy is not None:
        text = (
            f"Tried without training: accuracy {100 * pan.accuracy_before:.2f} % becomes "
            f"{100 * pan.accuracy:.2f} % with the PANs' padding swapped ({pan.plan.mode}), "
            f"{100 * every.accuracy:.2f} % with every layer's."
        )
        if every.accuracy < pan.accuracy_before:
            text += " The swap alone is no cure: the network was trained with its own padding."
        return text
    if pan.prediction_flips is not None and every.prediction_flips is not None:
        return (
            f"Tried without training: {pan.prediction_flips:,} predictions change with the PANs' "
            f"padding swapped ({pan.plan.mode}), {every.prediction_flips:,} with every layer's."
        )
    return ""
