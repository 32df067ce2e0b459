"""What to do about neurons that answer zeros inside the image."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.probes.intrusion.records import IntrusionFindings
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit

LEAST_FIRED, LEAST_RATIO = 0.1, 2.0
"""Share of PANs that answer, and how many times the share of others, from which on it matters."""


def advice(audit: Audit) -> Iterator[Advice]:
    """Yield to train with lines of zeros, if PANs answer these more than other neurons do."""
    found = audit.findings["intrusion"]
    if not isinstance(found, IntrusionFindings) or not found:
        return
    line = max(found, key=lambda each: each.pans_fired or 0.0)
    fired, others = line.pans_fired or 0.0, line.others_fired or 0.0
    if fired < LEAST_FIRED or fired < LEAST_RATIO * others:
        return
    flips = line.prediction_flips
    changed = "" if flips is None else f", and {flips} of {line.images} predictions change"
    yield Advice(
        what="Train with rows and columns of zeros at random places.",
        evidence=f"{100 * fired:.0f} % of the PANs answer a {line.axis} of zeros at "
        f"{line.position:g} of the image ({100 * others:.0f} % of random neurons){changed}.",
        weight=min(1.0, 0.3 + fired / 2),
    )
