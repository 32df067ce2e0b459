"""Probe ``blind_spots``: do predictions depend on where the object stands? (Mind the Pad)"""

from __future__ import annotations

from pytest_pan.probes.blind_spots import report
from pytest_pan.probes.blind_spots.records import BlindSpotFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

_SOURCE = "Mind the Pad (Alsallakh et al. 2021); the figure is this project's"
_SCORE = (
    "The score of a class is its log-probability, that of a box its own, that of pixels the share "
    "with the same class as at the centre."
)
_NEEDS = "outputs with classes, or boxes"

MEASURES = (
    Measure(
        name="blind_spot_depth",
        unit="number",
        better="higher",
        source=_SOURCE,
        meaning="Mean score of a small object at the place of 5x5 where it is lowest, less that at "
        f"the centre; 0 for no blind spot. {_SCORE}",
        is_signed=True,
        needs=_NEEDS,
        undefined="the outputs have no classes and no boxes",
    ),
    Measure(
        name="border_gap",
        unit="number",
        better="higher",
        source=_SOURCE,
        meaning="Mean score of a small object at the 16 outer places of 5x5, less that at the 9 "
        f"inner ones. {_SCORE}",
        is_signed=True,
        needs=_NEEDS,
        undefined="the outputs have no classes and no boxes",
    ),
)

PROBE = Probe(
    name="blind_spots",
    question="Do predictions depend on where in the image an object stands?",
    measures=MEASURES,
    cost="25 forward passes of each of 32 images",
    observer="pytest_pan.probes.blind_spots.observer:BlindSpotObserver",
    read=BlindSpotFindings.from_json,
    lines=report.lines,
    sections=(Section(anchor="blind-spots", template="blind_spots.html", view=report.view),),
)
