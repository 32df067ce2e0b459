"""Whether it really ran: audits expected against audits made, layers and images examined."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from pytest_pan.records import Audit, Limit
from pytest_pan.switches import LIMIT

NOTHING = "pan::nothing_audited"
"""The id of the error of a run without an audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How many audits a run was asked for: a declared model is one, and so is a test."""

    models: int = 0
    tests: int = 0
    deselected: int = 0
    left_out: int = 0
    """Declared models of a run about single files."""

    @property
    def expected(self) -> int:
        """Audits that are to be had in this run."""
        return self.models + self.tests

    def to_json(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What was expected, and what came of it."""

    collected: Collected
    had: int
    """How many of those who asked for an audit had one."""
    audits: int
    sites: int
    skipped: int
    images: int
    images_expected: int | None
    """None where a source of images does not say how many there are."""
    cached: int = 0
    """How many of the audits an earlier run has made."""

    @property
    def missing(self) -> int:
        """How many of those who asked for an audit, and were not deselected, had none."""
        return max(self.collected.expected - self.had, 0)

    def to_json(self) -> dict[str, Any]:
        """The JSON report's ``ran``."""
        return {
            "expected": {"audits": self.collected.expected, **self.collected.to_json()},
            "had": self.had,
            "audits": self.audits,
            "sites": {"examined": self.sites, "skipped": self.skipped},
            "images": {"expected": self.images_expected, "read": self.images},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What :meth:`to_json` gave, which leaves out how many of the audits were cached."""
        expected, images = data["expected"], data["images"]["expected"]
        return cls(
            collected=Collected(**{f.name: int(expected[f.name]) for f in fields(Collected)}),
            had=int(data["had"]),
            audits=int(data["audits"]),
            sites=int(data["sites"]["examined"]),
            skipped=int(data["sites"]["skipped"]),
            images=int(data["images"]["read"]),
            images_expected=None if images is None else int(images),
        )

    def line(self) -> str:
        """The same for people."""
        collected, asked = self.collected, self.collected.expected
        parts = [(collected.models, "declared model"), (collected.tests, "test")]
        of = ", ".join(_count(number, what) for number, what in parts if number)
        read = f"{self.images:,}" + (
            "" if self.images_expected is None else f" of {self.images_expected:,}"
        )
        had = f"audits: {self.had} of {asked} expected" + (f" ({of})" if of else "")
        return (
            f"{', '.join([had, *self.left_out()])}; {_count(self.audits, 'audit')} made"
            f"{f', {self.cached} of them earlier' if self.cached else ''}: "
            f"{_count(self.sites, 'layer')} examined, {self.skipped:,} not; {read} images read"
        )

    def left_out(self) -> list[str]:
        """What this run was not about."""
        deselected, left_out = self.collected.deselected, self.collected.left_out
        said = []
        if deselected:
            said.append(f"{deselected} of {deselected + self.collected.expected} audits deselected")
        if left_out:
            said.append(f"{_count(left_out, 'declared model')} left out: only files were named")
        return said


def ran(collected: Collected, had: int, audits: Sequence[Audit]) -> Ran:
    """Counts what the audits examined."""
    expected = [audit.images.get("expected") for audit in audits]
    return Ran(
        collected=collected,
        had=had,
        audits=len(audits),
        sites=sum(len(audit.sites) for audit in audits),
        skipped=sum(len(audit.skips) for audit in audits),
        images=sum(audit.images.get("count", 0) for audit in audits),
        cached=sum(audit.cached for audit in audits),
        images_expected=None if None in expected else sum(n for n in expected if n is not None),
    )


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
                f"nothing was audited: none of {_count(count.expected, 'audit')} ran",
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


def counted(
    kept: Collection[str], dropped: Collection[str], *, models: Collection[str], left_out: int
) -> Collected:
    """Who asks in the items that stay and in those that were deselected; ``models`` of them are
    declared models.
    """
    asking = {asker for asker in kept if asker}
    return Collected(
        models=len(asking & set(models)),
        tests=len(asking - set(models)),
        deselected=len({asker for asker in dropped if asker} - asking),
        left_out=left_out,
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
