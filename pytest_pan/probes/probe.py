"""What a probe declares about itself: its question, measures, cost and parts of the report.

No torch here, nor in anything that a declaration refers to: limits, reports and the command line
read the declarations without running a model. The code that does run one, the observer
(``observer.py``), is named by its import path and loaded when an audit starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_pan.records.audit import Audit, Findings
from pytest_pan.records.measures import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where a section stands in the HTML report, and how much it may show."""

    anchor: str
    """Of the audit; anchors within it begin with it."""
    sites: Mapping[str, str]
    """Anchors of the sites, by name."""
    share: int
    """How much of what is shared among the page's audits this one may show (``Section.levels``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of an audit's page in the HTML report."""

    anchor: str
    """Follows the audit's anchor: ``mobilenet:influence``."""
    template: str
    """File in ``report_templates``; it gets ``view``, ``section`` (the audit's) and ``audit``."""
    view: Callable[[Audit, Page], object | None]
    """What the template shows, without analysis left to do; None leaves the section out."""
    link: str = ""
    """Text of its entry in the contents; empty for none."""
    is_detail: bool = False
    """Whether it stands behind the sections of all probes that are not details."""
    demand: Callable[[Audit], int] = lambda audit: 0
    """How much it could show of what makes pages large, in a unit of its own."""
    levels: tuple[int, int, int, int] = (0, 0, 0, 0)
    """How much all audits of a page show together; the next number where a page is too large."""


def no_lines(audit: Audit) -> Iterable[str]:
    """Return no lines: the default of a probe that prints none."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The declaration of a probe."""

    name: str
    """As in ``--pan-probes``; findings stand under it in ``Audit.findings`` and in the JSON."""
    question: str
    measures: tuple[Measure, ...]
    cost: str
    """What it adds to an audit, for people: ``one forward pass``."""
    observer: str
    """``module:class`` of its observer, which is made with a context (``observer.py``)."""
    read: Callable[[Any], Findings]
    """Make the record of its findings from their JSON."""
    is_always_on: bool = False
    """Whether every audit runs it: the other probes build on what it finds."""
    lines: Callable[[Audit], Iterable[str]] = no_lines
    """Its lines in the terminal, without indentation."""
    markdown: Callable[[Audit], Iterable[str]] = no_lines
    """Its lines in the Markdown report, beside its measures."""
    sections: tuple[Section, ...] = ()
    """Its parts of the HTML report; without any, its ``lines`` stand there under the question."""
