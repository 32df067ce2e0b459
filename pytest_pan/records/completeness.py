"""Run summary: audits expected and made, layers and images examined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from pytest_pan.records.audit import Audit
from pytest_pan.records.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Number of collected audit requests; each declared model and each test is one."""

    models: int = 0
    tests: int = 0
    deselected: int = 0
    left_out: int = 0
    """Declared models that were not collected because only test files were named."""

    @property
    def expected(self) -> int:
        """Number of requests that this run should fulfil."""
        return self.models + self.tests

    def to_json(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> Self:
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run was expected to audit, and what it audited."""

    collected: Collected
    fulfilled: int
    """Requests that received an audit."""
    audits: int
    sites: int
    skipped: int
    images: int
    images_expected: int | None
    """None if a source of images does not know its length."""
    cached: int = 0
    """Audits read from the cache."""

    @property
    def missing(self) -> int:
        """Number of expected requests that received no audit."""
        return max(self.collected.expected - self.fulfilled, 0)

    def to_json(self) -> dict[str, Any]:
        """Return the ``ran`` object of the JSON report."""
        return {
            "expected": {"audits": self.collected.expected, **self.collected.to_json()},
            "had": self.fulfilled,
            "audits": self.audits,
            "sites": {"examined": self.sites, "skipped": self.skipped},
            "images": {"expected": self.images_expected, "read": self.images},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Build the record from the data of :meth:`to_json`, which does not include ``cached``."""
        expected, images = data["expected"], data["images"]["expected"]
        return cls(
            collected=Collected(**{f.name: int(expected[f.name]) for f in fields(Collected)}),
            fulfilled=int(data["had"]),
            audits=int(data["audits"]),
            sites=int(data["sites"]["examined"]),
            skipped=int(data["sites"]["skipped"]),
            images=int(data["images"]["read"]),
            images_expected=None if images is None else int(images),
        )

    def line(self) -> str:
        """Return the summary as one line of text."""
        collected = self.collected
        counts = [(collected.models, "declared model"), (collected.tests, "test")]
        kinds = ", ".join(plural(number, noun) for number, noun in counts if number)
        head = f"audits: {self.fulfilled} of {collected.expected} expected"
        head += f" ({kinds})" if kinds else ""
        images = plural(self.images, "image")
        if self.images_expected is not None:
            images = f"{self.images:,} of {plural(self.images_expected, 'image')}"
        return (
            f"{', '.join([head, *self.excluded()])}; {plural(self.audits, 'audit')} made"
            f"{f' ({self.cached} from the cache)' if self.cached else ''}: "
            f"{plural(self.sites, 'layer')} examined, {self.skipped:,} skipped; "
            f"{images} read"
        )

    def excluded(self) -> list[str]:
        """Return texts about deselected audits and declared models that were not collected."""
        deselected, left_out = self.collected.deselected, self.collected.left_out
        texts = []
        if deselected:
            total = deselected + self.collected.expected
            texts.append(f"{deselected:,} of {plural(total, 'audit')} deselected")
        if left_out:
            models = plural(left_out, "declared model")
            texts.append(f"{models} not collected: only test files were named")
        return texts


def summarize(collected: Collected, fulfilled: int, audits: Sequence[Audit]) -> RunSummary:
    """Return the summary of a run with these requests and audits."""
    expected = [audit.images.get("expected") for audit in audits]
    return RunSummary(
        collected=collected,
        fulfilled=fulfilled,
        audits=len(audits),
        sites=sum(len(audit.sites) for audit in audits),
        skipped=sum(len(audit.skips) for audit in audits),
        images=sum(
            audit.images.get("count", 0) + audit.images.get("repeated", 0) for audit in audits
        ),
        cached=sum(audit.cached for audit in audits),
        images_expected=None if None in expected else sum(n for n in expected if n is not None),
    )


def count_requests(
    selected: Collection[str],
    deselected: Collection[str],
    *,
    models: Collection[str],
    left_out: int,
) -> Collected:
    """Count distinct requesters among the selected and the deselected items.

    A requester is the id of a test or of a declared model (those in ``models``), or empty for an
    item that needs no audit.
    """
    requesters = {requester for requester in selected if requester}
    return Collected(
        models=len(requesters & set(models)),
        tests=len(requesters - set(models)),
        deselected=len({requester for requester in deselected if requester} - requesters),
        left_out=left_out,
    )
