"""Whether a run did what was expected: audits made, layers and images examined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from pytest_pan.records.audit import Audit


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
        of = ", ".join(number_of(number, what) for number, what in parts if number)
        read = f"{self.images:,}" + (
            "" if self.images_expected is None else f" of {self.images_expected:,}"
        )
        had = f"audits: {self.had} of {asked} expected" + (f" ({of})" if of else "")
        return (
            f"{', '.join([had, *self.left_out()])}; {number_of(self.audits, 'audit')} made"
            f"{f', {self.cached} of them earlier' if self.cached else ''}: "
            f"{number_of(self.sites, 'layer')} examined, {self.skipped:,} not; {read} images read"
        )

    def left_out(self) -> list[str]:
        """What this run was not about."""
        deselected, left_out = self.collected.deselected, self.collected.left_out
        said = []
        if deselected:
            said.append(f"{deselected} of {deselected + self.collected.expected} audits deselected")
        if left_out:
            said.append(f"{number_of(left_out, 'declared model')} left out: only files were named")
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


def number_of(number: int, what: str) -> str:
    """``1 test``, ``1,200 tests``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
