"""Probe ``ppp``: how far does padding move the features? (Lin et al., PPP)"""

from __future__ import annotations

from pytest_pan.probes.ppp import report
from pytest_pan.probes.ppp.records import PppFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

_NEEDS = "32 images larger than the network's input by twice the margin (pan_large_images)"

MEASURES = (
    Measure(
        name="ppp_mae",
        unit="number",
        better="lower",
        source="Lin et al., position-information pattern from padding; the formula is this "
        "project's",
        meaning="How far padding moves the features on average over images, relative to features "
        "that have true surroundings, in their standard deviations; mean over layers.",
        per_site="the same for the layer",
        needs=_NEEDS,
    ),
    Measure(
        name="ppp_snr",
        unit="number",
        better="lower",
        source="Lin et al., position-information pattern from padding; the formula is this "
        "project's",
        meaning="Power of the pattern that padding adds to the features of every image, over that "
        "of what differs from image to image, in dB; mean over layers.",
        per_site="the same for the layer; none for a layer below the noise",
        is_signed=True,
        needs=_NEEDS,
    ),
)

PROBE = Probe(
    name="ppp",
    question="How far does padding move the features from what true surroundings give?",
    measures=MEASURES,
    cost="2 passes of up to 64 larger images cut to the input's size, and one with their margin",
    observer="pytest_pan.probes.ppp.observer:PppObserver",
    read=PppFindings.from_json,
    lines=report.lines,
    sections=(Section(anchor="ppp", template="ppp.html", view=report.view),),
)
