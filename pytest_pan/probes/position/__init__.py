"""Probe ``position``: can the position be read from the features? (PosENet; Islam et al.)"""

from __future__ import annotations

from pytest_pan.probes.position import report
from pytest_pan.probes.position.records import PositionFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

_SOURCE = "PosENet (Islam et al. 2020); the ridge read-out is this project's"
_NEEDS = "16 independent images"

MEASURES = (
    Measure(
        name="position_spc",
        unit="number",
        better="lower",
        source=_SOURCE,
        meaning="Rank correlation (Spearman) over cells between a position and what a linear "
        "read-out of the features says, averaged over horizontal, vertical and Gaussian targets "
        "and over test images.",
        per_site="read-out of this layer alone, for the last layer of each map size",
        is_signed=True,
        needs=_NEEDS,
        undefined="too few images",
    ),
    Measure(
        name="position_mae",
        unit="number",
        better="higher",
        source=_SOURCE,
        meaning="Mean absolute error of the read-out, clipped to 0 to 1, averaged like "
        "position_spc. Positions run from 0 to 1.",
        needs=_NEEDS,
        undefined="too few images",
    ),
    Measure(
        name="position_excess",
        unit="number",
        better="lower",
        source="this project",
        meaning="position_spc with the network's own padding minus that with the swapped padding: "
        "what the padding adds to the position that images show anyway.",
        is_signed=True,
        needs=_NEEDS,
        undefined="too few images",
    ),
)

PROBE = Probe(
    name="position",
    question="Can the position in the image be read from the features?",
    measures=MEASURES,
    cost="2 forward passes of up to 96 images, and linear regressions",
    observer="pytest_pan.probes.position.observer:PositionObserver",
    read=PositionFindings.from_json,
    lines=report.lines,
    sections=(Section(anchor="position", template="position.html", view=report.view),),
)
