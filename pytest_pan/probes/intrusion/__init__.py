"""Probe ``intrusion``: do PANs respond to a line of zeros inside the image? (PAN section 5)"""

from __future__ import annotations

from pytest_pan.probes.intrusion import report
from pytest_pan.probes.intrusion.advice import advice
from pytest_pan.probes.intrusion.records import IntrusionFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

MEASURES = (
    Measure(
        name="intrusion_flips",
        unit="count",
        better="lower",
        source="Padding Aware Neurons, section 5; the procedure is this project's",
        meaning="Predictions that one row or column of zeros inside the image changes, at the "
        "position that changes most.",
        is_image_count=True,
        needs="outputs with predictions",
    ),
)

PROBE = Probe(
    name="intrusion",
    question="Do the neurons that look for padding answer a line of zeros inside the image?",
    measures=MEASURES,
    cost="6 forward passes",
    observer="pytest_pan.probes.intrusion.observer:IntrusionObserver",
    read=IntrusionFindings.from_json,
    lines=report.lines,
    advice=advice,
    sections=(Section(anchor="intrusion", template="intrusion.html", view=report.view),),
)
