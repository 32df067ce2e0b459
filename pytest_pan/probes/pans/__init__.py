"""Probe ``pans``: which neurons are padding aware, and on which borders? (PAN section 3)"""

from __future__ import annotations

from pytest_pan.probes.pans import report
from pytest_pan.probes.pans.records import PansFindings
from pytest_pan.probes.probe import Probe, Section
from pytest_pan.records.measures import Measure

_SOURCE = "Padding Aware Neurons, section 3"

MEASURES = (
    Measure(
        name="pan_fraction",
        unit="fraction",
        better="lower",
        source=_SOURCE,
        meaning="Padding aware neurons as a share of the neurons examined.",
        per_site="the same share within the layer",
        counts_pans=True,
        is_suggested=True,
        is_headline=True,
    ),
    Measure(
        name="pan_count",
        unit="count",
        better="lower",
        source=_SOURCE,
        meaning="Number of padding aware neurons.",
        per_site="their number in the layer",
        counts_pans=True,
    ),
    Measure(
        name="layer_pan_fraction",
        unit="fraction",
        better="lower",
        source=f"{_SOURCE} (Table 1)",
        meaning="The largest share of padding aware neurons that any one layer has.",
        per_site="the share within the layer",
        counts_pans=True,
        is_largest_layer=True,
    ),
    Measure(
        name="edge_detector_count",
        unit="count",
        better="lower",
        source=_SOURCE,
        meaning="Neurons whose border activations differ from the centre's on at least one side; "
        "padding aware neurons are some of them.",
        per_site="their number in the layer",
        no_interval="a seventh of all neurons lie near its threshold, too many to examine again; "
        "limit pan_count instead",
    ),
)

PROBE = Probe(
    name="pans",
    question="Which neurons are padding aware, and on which borders?",
    measures=MEASURES,
    cost="one forward pass, which all probes share",
    observer="pytest_pan.probes.pans.observer:PansObserver",
    read=PansFindings.from_json,
    is_always_on=True,
    lines=report.lines,
    markdown=report.markdown,
    sections=(
        Section(anchor="layers", template="layers.html", view=report.layers_view),
        Section(
            anchor="pans",
            template="neurons.html",
            view=report.neurons_view,
            link="its PANs",
            is_detail=True,
            demand=lambda audit: len(audit.neurons),
            levels=report.FIGURES,
        ),
    ),
)
