"""Probe ``lines``: does padding draw lines into the mean feature maps? (Mind the Pad)"""

from __future__ import annotations

from pytest_pan.probes.lines import report
from pytest_pan.probes.lines.records import LinesFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

MEASURES = (
    Measure(
        name="line_artifact",
        unit="number",
        better="lower",
        source="Mind the Pad, feature-map artifacts; the score is this project's",
        meaning="How far the most deviating row or column of a layer's mean map over random inputs "
        "lies from the interior, in standard deviations of the channel: median over layers.",
        per_site="the same for the layer's strongest line",
        is_sampled=False,
        undefined="no layer has a map that is large enough and varies",
    ),
)

PROBE = Probe(
    name="lines",
    question="Does padding draw lines into the feature maps of inputs without content?",
    measures=MEASURES,
    cost="66 images forward: 32 random and one of zeros, for each padding",
    observer="pytest_pan.probes.lines.observer:LinesObserver",
    read=LinesFindings.from_json,
    lines=report.lines,
    sections=(Section(anchor="feature-lines", template="feature_lines.html", view=report.view),),
)
