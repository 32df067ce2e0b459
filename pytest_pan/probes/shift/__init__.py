"""Probe ``shift``: does the prediction stay when the image moves? (Zhang 2019)"""

from __future__ import annotations

from pytest_pan.probes.probe import Probe, Section
from pytest_pan.probes.shift import report
from pytest_pan.probes.shift.records import ShiftFindings
from pytest_pan.records.measures import Measure

MEASURES = (
    Measure(
        name="shift_consistency",
        unit="fraction",
        better="higher",
        source="Zhang 2019, Making Convolutional Networks Shift-Invariant Again",
        meaning="Pairs of windows of larger images, up to 32 pixels apart, that have the same top "
        "class.",
        needs="outputs with a class for each image, and larger images (pan_large_images)",
    ),
    Measure(
        name="roll_consistency",
        unit="fraction",
        better="higher",
        source="this project; Zhang 2019 for the share of equal predictions",
        meaning="Images that keep their top class when they are rolled by the total stride, which "
        "moves border and seam and changes nothing else.",
        needs="outputs with a class for each image",
    ),
)

PROBE = Probe(
    name="shift",
    question="Does the prediction stay when the image moves?",
    measures=MEASURES,
    cost="3 forward passes, 4 if a layer is uneven; 9 windows of each larger image",
    observer="pytest_pan.probes.shift.observer:ShiftObserver",
    read=ShiftFindings.from_json,
    lines=report.lines,
    advice=report.advice,
    sections=(Section(anchor="shift", template="shift.html", view=report.view),),
)
