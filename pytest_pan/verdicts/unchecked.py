"""What a run was to check and did not: audits at all, and single limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_pan.config.options import LIMIT
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Ran, number_of
from pytest_pan.records.limits import Limit

NOTHING = "pan::nothing_audited"
"""The id of the error of a run without an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """How much a run was about: what it did not check may be no fault of a narrow one."""

    asked: bool
    """``--pan-audit`` on the command line."""
    whole: bool
    """No single files or tests were named."""


def never_checked(
    found: Ran, audits: Sequence[Audit], everywhere: Sequence[Limit], aim: Aim
) -> Iterator[tuple[str, str]]:
    """Ids and words for what was to be checked and was not: an audit at all, each limit."""
    count = found.collected
    if not audits and (aim.asked or aim.whole):
        if count.expected:
            yield (
                NOTHING,
                f"nothing was audited: none of {number_of(count.expected, 'audit')} ran",
            )
        elif not count.deselected:
            left = "; ".join(["", *found.left_out()])
            yield (
                NOTHING,
                "nothing was audited: no test has the marker pan or takes the fixture pan_audit "
                f"or pan, and pyproject.toml declares no model{left}",
            )
    judged = [verdict.limit for audit in audits for verdict in audit.verdicts]
    nearer = {limit.group for limit in judged}
    narrow = not aim.whole or count.deselected or not audits
    for limit in everywhere:
        if limit.origin == LIMIT:
            checked = any(_same(limit, held) for held in judged)
        else:  # one that all tests have of their own is a default that nobody needed
            checked = bool(narrow) or limit.group in nearer
        if checked:
            continue
        why = "no declared model and no test marked pan was held against it"
        if limit.group in nearer:
            why = "every test that was held against such a limit has one of its own in its marker"
        yield (
            f"pan::never_checked::{limit.keyword}",
            f"{limit.keyword} = {limit.written} ({limit.origin}) was never checked: {why}",
        )


def _same(limit: Limit, held: Limit) -> bool:
    """Whether a limit of the command line is what an audit was held against."""
    one, other = ((each.keyword, each.written) for each in (limit, held))
    return one == other and held.origin.startswith(LIMIT)
