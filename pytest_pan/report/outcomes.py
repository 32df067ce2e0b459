"""Outcomes of an audit and of the run: green only if everything was checked and passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.limits import Verdict
from pytest_pan.records.text import plural

Level = Literal["fail", "warn", "none", "pass"]
LEVELS: tuple[Level, ...] = ("fail", "warn", "none", "pass")
"""In page order, worst first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of an audit or of the run, with its severity."""

    level: Level
    text: str


def audit_outcome(audit: Audit) -> Outcome:
    """Return the outcome of one audit."""
    failed, inconclusive = _counts(audit.verdicts)
    total = len(audit.verdicts)
    texts = [f"{inconclusive} of {_limits(total)} inconclusive"] if inconclusive else []
    texts += ["incomplete"] if audit.partial else []
    texts += [] if audit.neuron_count else ["nothing examined"]
    if failed:
        return Outcome("fail", ", ".join([f"{failed} of {_limits(total)} failed", *texts]))
    checked = f"{_limits(total - inconclusive)} passed" if total else "no limits declared"
    if texts:
        return Outcome("warn", ", ".join([*texts, checked]))
    return Outcome("pass" if total else "none", checked)


def page_outcome(audits: Sequence[Audit], partial: str, ran: RunSummary | None = None) -> Outcome:
    """Return the outcome of the run.

    A failed limit is worst, then incomplete or unchecked parts and missing audits.
    """
    levels = [audit_outcome(audit).level for audit in audits]
    verdicts = [verdict for audit in audits for verdict in audit.verdicts]
    failed, inconclusive = _counts(verdicts)
    texts = [f"{_limits(failed)} failed"] if failed else []
    texts += [f"{_limits(inconclusive)} inconclusive"] if inconclusive else []
    texts += ["incomplete"] if partial or any(audit.partial for audit in audits) else []
    if not any(audit.neuron_count for audit in audits):
        texts.append("nothing was examined")
    missing = ran.missing if ran else 0
    if ran and missing:
        texts.append(f"{missing:,} of {plural(ran.collected.expected, 'expected audit')} missing")
    unchecked = sum(not audit.verdicts for audit in audits)
    if passed := len(verdicts) - failed - inconclusive:
        texts.append(f"{_limits(passed)} passed")
    if unchecked:
        texts.append(
            "no limits declared"
            + (f" for {unchecked} of {plural(len(audits), 'model')}" if verdicts else "")
        )
    worst: Level = next((level for level in LEVELS if level in levels), "warn")
    if (partial or missing) and worst != "fail":
        worst = "warn"
    text = ", ".join(texts)
    return Outcome(worst, text[:1].upper() + text[1:])


def _counts(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """Count the failed and the inconclusive verdicts."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return outcomes.count("fail"), outcomes.count("inconclusive")


def _limits(count: int) -> str:
    return plural(count, "limit")
