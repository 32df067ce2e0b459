"""How an audit or the whole run ended: green only where everything was checked and passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Ran
from pytest_pan.records.limits import Verdict

Level = Literal["fail", "warn", "none", "pass"]
LEVELS: tuple[Level, ...] = ("fail", "warn", "none", "pass")
"""Worst first, which is the order of the page."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the whole page or one audit ended; green only if every part was checked and passed."""

    level: Level
    text: str


def audit_outcome(audit: Audit) -> Outcome:
    """How one audit ended, in words."""
    failed, open_ = _counts(audit.verdicts)
    total = len(audit.verdicts)
    said = [f"{open_} of {_limits(total)} inconclusive"] if open_ else []
    said += ["incomplete"] if audit.partial else []
    said += [] if audit.neuron_count else ["nothing examined"]
    if failed:
        return Outcome("fail", ", ".join([f"{failed} of {_limits(total)} failed", *said]))
    checked = f"{_limits(total - open_)} passed" if total else "no limits declared"
    if said:
        return Outcome("warn", ", ".join([*said, checked]))
    return Outcome("pass" if total else "none", checked)


def page_outcome(audits: Sequence[Audit], partial: str, ran: Ran | None = None) -> Outcome:
    """How the run ended: a failed limit weighs most, then what was cut short or not checked,
    and audits that were expected and that nobody had.
    """
    levels = [audit_outcome(audit).level for audit in audits]
    verdicts = [verdict for audit in audits for verdict in audit.verdicts]
    failed, open_ = _counts(verdicts)
    said = [f"{_limits(failed)} failed"] if failed else []
    said += [f"{_limits(open_)} inconclusive"] if open_ else []
    said += ["incomplete"] if partial or any(audit.partial for audit in audits) else []
    if not any(audit.neuron_count for audit in audits):
        said.append("nothing was examined")
    missing = ran.missing if ran else 0
    if ran and missing:
        said.append(f"{missing:,} of {ran.collected.expected:,} expected audits missing")
    unchecked = sum(not audit.verdicts for audit in audits)
    if passed := len(verdicts) - failed - open_:
        said.append(f"{_limits(passed)} passed")
    if unchecked:
        said.append(
            "no limits declared" + (f" for {unchecked} of {len(audits)} models" if verdicts else "")
        )
    worst: Level = next((level for level in LEVELS if level in levels), "warn")
    if (partial or missing) and worst != "fail":
        worst = "warn"
    text = ", ".join(said)
    return Outcome(worst, text[:1].upper() + text[1:])


def _counts(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """How many failed, and how many are inconclusive."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return outcomes.count("fail"), outcomes.count("inconclusive")


def _limits(count: int) -> str:
    return f"{count:,} limit{'' if count == 1 else 's'}"
