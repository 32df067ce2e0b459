"""Probe ``influence``: how does the padding affect the predictions? (PAN section 4)"""

from __future__ import annotations

from pytest_pan.probes.influence import report
from pytest_pan.probes.influence.advice import advice
from pytest_pan.probes.influence.measures import MEASURES
from pytest_pan.probes.influence.records import InfluenceFindings
from pytest_pan.probes.probe import Probe, Section

PROBE = Probe(
    name="influence",
    question="What does the padding of the PANs do to the predictions?",
    measures=MEASURES,
    cost="2 forward passes, and one for each draw of random neurons",
    observer="pytest_pan.probes.influence.observer:InfluenceObserver",
    read=InfluenceFindings.from_json,
    lines=report.lines,
    advice=advice,
    sections=(
        Section(
            anchor="influence",
            template="influence.html",
            view=report.view,
            link="its predictions",
            demand=report.demand,
            levels=report.PICTURES,
        ),
    ),
)
