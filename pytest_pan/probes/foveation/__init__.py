"""Probe ``foveation``: which pixels does the network read more often? (Mind the Pad)"""

from __future__ import annotations

from pytest_pan.probes.foveation import report
from pytest_pan.probes.foveation.records import FoveationFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

_SOURCE = "Mind the Pad, foveation; the measure is this project's"
_NEEDS = "a feature map that depends on the image"

MEASURES = (
    Measure(
        name="foveation_min",
        unit="fraction",
        better="higher",
        source=_SOURCE,
        meaning="How often the least read block of pixels is read by the last feature map, "
        "relative to the central block; a block is as large as the total stride.",
        is_sampled=False,
        needs=_NEEDS,
    ),
    Measure(
        name="foveation_asymmetry",
        unit="fraction",
        better="lower",
        source=_SOURCE,
        meaning="How much more often one half of the image is read than the other: difference over "
        "sum, the larger of left-right and top-bottom.",
        is_sampled=False,
        needs=_NEEDS,
    ),
)

PROBE = Probe(
    name="foveation",
    question="Which pixels does the network read more often than others?",
    measures=MEASURES,
    cost="a forward and a backward pass of one image, for each padding; no weights are read",
    observer="pytest_pan.probes.foveation.observer:FoveationObserver",
    read=FoveationFindings.from_json,
    is_always_on=True,
    lines=report.lines,
    sections=(Section(anchor="foveation", template="foveation.html", view=report.view),),
)
