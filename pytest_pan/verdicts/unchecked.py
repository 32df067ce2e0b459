"""Errors for what a run should have checked and did not: audits and limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_pan.config.options import LIMIT
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.limits import Limit
from pytest_pan.records.text import plural

NO_AUDIT = "pan::nothing_audited"
"""Id of the error for a run without an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScope:
    """What the user selected; a run of few tests need not check everything."""

    has_audit_option: bool
    """``--pan-audit`` is on the command line, not only in the ini file."""
    is_whole_repo: bool
    """No single files or tests are named."""


def unchecked_errors(
    summary: RunSummary, audits: Sequence[Audit], global_limits: Sequence[Limit], scope: RunScope
) -> Iterator[tuple[str, str]]:
    """Yield (id, message) if no audit was made, and for each limit that was never checked."""
    is_expected = scope.has_audit_option or scope.is_whole_repo
    if not audits and is_expected and (message := _why_no_audit(summary)):
        yield NO_AUDIT, message
    checked = [verdict.limit for audit in audits for verdict in audit.verdicts]
    checked_groups = {limit.group for limit in checked}
    is_narrow = not scope.is_whole_repo or summary.collected.deselected or not audits
    for limit in global_limits:
        if limit.origin == LIMIT:
            is_checked = any(_is_same(limit, other) for other in checked)
        else:  # a limit of the file is a default, which every test may override
            is_checked = bool(is_narrow) or limit.group in checked_groups
        if is_checked:
            continue
        why = "no declared model and no test marked pan uses it"
        if limit.group in checked_groups:
            why = "every test with such a limit sets its own value in its marker"
        yield (
            f"pan::never_checked::{limit.keyword}",
            f"{limit.keyword} = {limit.bound_text} ({limit.origin}) was never checked: {why}",
        )


def _why_no_audit(summary: RunSummary) -> str:
    """Return the error message of a run without audits; empty if all were deselected."""
    count = summary.collected
    if count.expected:
        return f"nothing was audited: none of {plural(count.expected, 'audit')} ran"
    if count.deselected:
        return ""
    excluded = "; ".join(["", *summary.excluded()])
    return (
        "nothing was audited: no test has the marker pan or takes the fixture pan_audit or pan, "
        f"and pyproject.toml declares no model{excluded}"
    )


def _is_same(limit: Limit, checked: Limit) -> bool:
    """Return whether a checked limit is this limit of the command line."""
    one, other = ((each.keyword, each.bound_text) for each in (limit, checked))
    return one == other and checked.origin.startswith(LIMIT)
