"""Probe ``uneven``: which layers read padding on one side only? (Mind the Pad)"""

from __future__ import annotations

from pytest_pan.probes.probe import Probe, Section
from pytest_pan.probes.uneven import report
from pytest_pan.probes.uneven.records import UnevenFindings
from pytest_pan.records.measures import Measure

MEASURES = (
    Measure(
        name="uneven_layers",
        unit="count",
        better="lower",
        source="Mind the Pad, uneven application of padding",
        meaning="Convolutions and pools whose windows reach different amounts of padding on "
        "opposite sides.",
        per_site="1 where the layer is uneven, else 0",
        is_sampled=False,
    ),
    Measure(
        name="dropped_cells",
        unit="count",
        better="lower",
        source="this project",
        meaning="Rows at the bottom and columns at the right that no window of a convolution or "
        "pool reaches, summed over layers.",
        per_site="their number in the layer's input",
        is_sampled=False,
    ),
)

PROBE = Probe(
    name="uneven",
    question="Which layers read more padding on one side than on the opposite one?",
    measures=MEASURES,
    cost="shapes only: no images, no arithmetic",
    observer="pytest_pan.probes.uneven.observer:UnevenObserver",
    read=UnevenFindings.from_json,
    is_always_on=True,
    lines=report.lines,
    advice=report.advice,
    sections=(Section(anchor="uneven", template="uneven.html", view=report.view),),
)
