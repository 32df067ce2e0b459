"""Report lines and section of the probe ``intrusion``."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.probes.intrusion.records import IntrusionFindings
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit


def _findings(audit: Audit) -> IntrusionFindings:
    found = audit.findings.get("intrusion")
    return found if isinstance(found, IntrusionFindings) else IntrusionFindings()


def lines(audit: Audit) -> Iterator[str]:
    """Yield the inserted line that flips most predictions, and the fraction of PANs that fire."""
    found = _findings(audit)
    if not found:
        return
    worst = max(found, key=lambda each: each.prediction_flips or 0)
    flips = "" if worst.prediction_flips is None else f", {worst.prediction_flips} predictions flip"
    fired = " and ".join(
        f"{100 * share:.1f} % of {group}"
        for group, share in (("PANs", worst.pans_fired), ("others", worst.others_fired))
        if share is not None
    )
    yield (
        f"a {worst.axis} of zeros inserted at {worst.position:g} of the image{flips}"
        + (f"; {fired} fire" if fired else "")
    )


def view(audit: Audit, page: Page) -> IntrusionFindings | None:
    """Return the findings for the template; None if no line was inserted."""
    return _findings(audit) or None
