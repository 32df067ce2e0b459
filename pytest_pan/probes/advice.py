"""Ranked advice from the findings of all probes."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.probes import table
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import LEAST_IMAGES

MOST = 5
"""Things to do that an audit lists at most."""

NOTHING = "Nothing: keep this audit as a test."


def ranked(audit: Audit) -> tuple[Advice, ...]:
    """Return at most :data:`MOST` things to do, the most important first.

    Where two probes give the same, that of the later one counts, which knows more. If no probe has
    any, the one thing is to do nothing. There is none for a partial audit, or one of too few images
    for intervals.
    """
    if audit.partial or audit.images.get("count", 0) < LEAST_IMAGES:
        return ()
    by_what = {
        each.what: each
        for probe in table.PROBES
        if probe.name in audit.findings
        for each in probe.advice(audit)
    }
    found = list(by_what.values())
    if not found:
        ran = ", ".join(audit.findings)
        found = [Advice(what=NOTHING, evidence=f"No finding of {ran} asks for a change.", weight=0)]
    return tuple(sorted(found, key=lambda each: -each.weight)[:MOST])


def lines(audit: Audit) -> Iterator[str]:
    """Yield the advice as text, numbered."""
    for number, each in enumerate(ranked(audit), 1):
        yield f"{number}. {each.what} {each.evidence}" + (f" {each.effect}" if each.effect else "")
