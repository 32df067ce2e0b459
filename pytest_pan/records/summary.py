"""Short texts about one audit, for a Python prompt and a notebook. The reports say more."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from pytest_pan.records.text import escaped, line, plural

if TYPE_CHECKING:
    from pytest_pan.records.audit import Audit
    from pytest_pan.records.measures import Measured


def extent(audit: Audit) -> str:
    """Return ``155 PANs among 7,168 neurons (2.16 %) in 18 layers, 160 images``."""
    neurons = audit.neuron_count
    share = f" ({100 * audit.pan_count / neurons:.2f} %)" if neurons else ""
    return (
        f"{plural(audit.pan_count, 'PAN')} among {plural(neurons, 'neuron')}{share} in "
        f"{plural(len(audit.sites), 'layer')}, {plural(audit.images.get('count', 0), 'image')}"
    )


def images(audit: Audit) -> str:
    """Return ``images: tests/images; transform: by pan_transform``; empty without a transform."""
    transform = audit.images.get("transform")
    source = audit.images.get("source")
    return f"images: {source}; transform: {transform}" if transform else ""


def name(audit: Audit) -> str:
    """Return the model's name, safe to print."""
    return line(str(audit.model.get("name", "model")))


def lines(audit: Audit) -> Iterator[str]:
    """Yield what was examined, each measure with its interval, what is missing, and notes."""
    yield f"{name(audit)}: {extent(audit)}, theta {audit.settings.theta}"
    if audit.partial:
        yield line(f"  PARTIAL: {audit.partial}")
    if about := images(audit):
        yield line(f"  {about}")
    width = max(map(len, audit.measures), default=0)
    for measured in audit.measures.values():
        yield line(f"  {measured.measure:<{width}}  {_figure(measured)}")
    if audit.skips:
        yield f"  not examined: {len(audit.skips):,}"
    for note in audit.notes:
        yield line(f"  note: {note}")
    for verdict in audit.verdicts:
        limit = verdict.limit
        yield line(f"  {verdict.outcome.upper()} {limit.keyword} = {limit.bound_text}")


def _figure(measured: Measured) -> str:
    """Return ``0.0212 (95 % interval 0.0201 to 0.0225)``."""
    ends = measured.interval
    interval = f" (95 % interval {_number(ends[0])} to {_number(ends[1])})" if ends else ""
    return _number(measured.value) + interval


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def page(audit: Audit) -> str:
    """Return a small HTML table of the measures, with all texts escaped."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(escaped(each.measure))}</th>"
        f"<td>{escape(_number(each.value))}</td><td>{escape(_interval(each))}</td></tr>"
        for each in audit.measures.values()
    )
    partial = f"<p>PARTIAL: {escape(line(audit.partial))}</p>" if audit.partial else ""
    return (
        f"<p><b>{escape(name(audit))}</b>: {escape(extent(audit))}</p>{partial}"
        "<table><thead><tr><th>measure</th><th>value</th><th>95 % interval</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _interval(measured: Measured) -> str:
    ends = measured.interval
    return f"{_number(ends[0])} to {_number(ends[1])}" if ends else ""
