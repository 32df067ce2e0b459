"""Declaration of a probe: its question, measures, cost and report sections.

Neither this module nor anything a declaration refers to imports torch: limits, reports and the
command line read the declarations without running a model. The observer, which runs one
(``observer.py``), is given as an import path and loaded when an audit starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit, Findings
from pytest_pan.records.measures import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Context of a section in the HTML report: anchors and space."""

    anchor: str
    """Anchor of the audit; all anchors within it start with it."""
    sites: Mapping[str, str]
    """Anchors of the sites, keyed by name."""
    share: int
    """Part of the page's space that this audit may use, in the unit of ``Section.demand``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Section of an audit in the HTML report."""

    anchor: str
    """Suffix to the audit's anchor: ``mobilenet:influence``."""
    template: str
    """File in ``report_templates``; it gets ``view``, the audit's ``section``, and ``audit``."""
    view: Callable[[Audit, Page], object | None]
    """Function that prepares the data of the template; returns None to omit the section."""
    link: str = ""
    """Text of the entry in the table of contents; empty for no entry."""
    is_detail: bool = False
    """Whether the section follows the non-detail sections of all probes."""
    demand: Callable[[Audit], int] = lambda audit: 0
    """Function that returns the space the section could use, in a unit of its own."""
    levels: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Space for all audits of a page together, one per level; a page that is too large moves on to
    the next level."""


def no_lines(audit: Audit) -> Iterable[str]:
    """Return no lines; the default for probes that print none."""
    return ()


def no_advice(audit: Audit) -> Iterable[Advice]:
    """Return no advice; the default for probes that give none."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Declaration of a probe."""

    name: str
    """Name in ``--pan-probes``; also the key of the findings in ``Audit.findings`` and the JSON."""
    question: str
    measures: tuple[Measure, ...]
    cost: str
    """Cost in an audit, shown to users: ``one forward pass``."""
    observer: str
    """``module:class`` of its observer, which is constructed with a context (``observer.py``)."""
    read: Callable[[Any], Findings]
    """Function that builds the findings record from its JSON."""
    is_always_on: bool = False
    """Whether every audit runs it because other probes depend on its findings."""
    lines: Callable[[Audit], Iterable[str]] = no_lines
    """Function that returns its terminal lines, without indentation."""
    markdown: Callable[[Audit], Iterable[str]] = no_lines
    """Function that returns its lines in the Markdown report, in addition to its measures."""
    advice: Callable[[Audit], Iterable[Advice]] = no_advice
    """Function that returns what to do about its findings (``advice.py``)."""
    sections: tuple[Section, ...] = ()
    """Sections of the HTML report; if empty, ``lines`` are shown under the question."""
