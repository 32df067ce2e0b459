"""The measures of the probe ``influence``."""

from __future__ import annotations

from pytest_pan.records.measures import Measure

_ODDS = "Padding Aware Neurons, section 4.1"
_PREDICTIONS = "Padding Aware Neurons, section 4.2"
_ORIGINS = "Padding Aware Neurons, section 3.3; the procedure is this project's"

_CLASSES = "outputs with class probabilities, and a PAN that can be swapped"
_ORIGIN = "a layer whose padding can be swapped"

_FEW_CLASSES = "no class has enough support: use more images, or a smaller pan_support"

MEASURES: tuple[Measure, ...] = (
    Measure(
        name="log_odds_shift",
        unit="number",
        better="lower",
        source=_ODDS,
        meaning="The largest |log-odds| of a supported class when the PANs' padding is swapped: "
        "0.05 is about 5 %.",
        per_class=True,
        needs=_CLASSES,
        undefined=_FEW_CLASSES,
        is_headline=True,
    ),
    Measure(
        name="log_odds_excess",
        unit="number",
        better="lower",
        source="this project",
        meaning="By how much log_odds_shift exceeds its mean over random neurons, equally many in "
        "each layer.",
        is_signed=True,
        derived_from="log_odds_shift",
        needs=f"{_CLASSES}, and random draws",
        least_images=160,
    ),
    Measure(
        name="mean_log_odds_shift",
        unit="number",
        better="lower",
        source="this project",
        meaning="Mean |log-odds| of all classes, weighted by their support.",
        needs=_CLASSES,
        is_headline=True,
        is_suggested=True,
    ),
    Measure(
        name="log_odds_ratio",
        unit="number",
        better="lower",
        source="this project",
        meaning="How many times as far as random neurons, equally many in each layer, the PANs "
        "move the odds: mean_log_odds_shift divided by its mean over the draws.",
        derived_from="mean_log_odds_shift",
        needs=f"{_CLASSES}, and random draws that change the odds",
        is_suggested=True,
    ),
    Measure(
        name="prediction_divergence",
        unit="number",
        better="lower",
        source="this project",
        meaning="Mean over images of the Jensen-Shannon divergence of the class probabilities, in "
        "bits: 0 is no change, 1 is the most there can be.",
        needs=_CLASSES,
        least_images=80,
    ),
    Measure(
        name="classes_shifted",
        unit="count",
        better="lower",
        source=f"{_ODDS} (Table 3)",
        meaning="Supported classes whose odds change by more than 7 %.",
        needs=_CLASSES,
        no_interval="the number grows with that of the supported classes, and so with that of the "
        "images; limit mean_log_odds_shift instead",
    ),
    Measure(
        name="prediction_flips",
        unit="count",
        better="lower",
        source=_PREDICTIONS,
        meaning="Predictions that change when the PANs' padding is swapped.",
        is_image_count=True,
        needs="outputs with predictions, and a PAN that can be swapped",
    ),
    Measure(
        name="sample_influence",
        unit="number",
        better="lower",
        source=_PREDICTIONS,
        meaning="99th percentile over images of the L1 distance between the logits.",
        needs="a PAN that can be swapped",
        least_images=368,
    ),
    Measure(
        name="accuracy_drop",
        unit="fraction",
        better="lower",
        source="this project",
        meaning="Accuracy less accuracy with the PANs' padding swapped; needs labels.",
        is_signed=True,
        uses_labels=True,
        needs="labels of the model's classes, and a PAN that can be swapped",
        is_suggested=True,
    ),
    Measure(
        name="pan_floor",
        unit="fraction",
        better="lower",
        source="this project",
        meaning="PANs as a share of the neurons where every padding is swapped: what the method "
        "reports when there is no padding to see.",
        counts_pans=True,
        needs=_ORIGIN,
    ),
    Measure(
        name="nascent_fraction",
        unit="fraction",
        better="lower",
        source=_ORIGINS,
        meaning="PANs that lose a side when only their own layer's padding is swapped.",
        needs=_ORIGIN,
    ),
    Measure(
        name="downstream_fraction",
        unit="fraction",
        better="lower",
        source=_ORIGINS,
        meaning="PANs that keep a side then and lose it when every earlier layer's is swapped.",
        needs=_ORIGIN,
    ),
)

_BY_NAME = {measure.name: measure for measure in MEASURES}


def text(name: str, value: float) -> str:
    """Format a value of one of these measures."""
    return _BY_NAME[name].text(value)
