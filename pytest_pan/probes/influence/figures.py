"""Computation of the measures of the probe ``influence``, with the random control."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pytest_pan.probes.influence.comparison import Comparison
from pytest_pan.probes.influence.origins import Origins
from pytest_pan.probes.influence.records import SHIFTED, Influence
from pytest_pan.records.measures import Control, Interval, Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.text import plural


def output_measures(
    found: Sequence[Influence], comparison: Comparison, classes: Sequence[str]
) -> list[Measured]:
    """Return the measures of the effect of the PAN plan, which is ``found[0]``, on the outputs."""
    pan = found[0]
    places = [
        place
        for place, i in enumerate(found)
        if i.plan.seed is not None and (i.plan.size or not pan.plan.size)
    ]
    draws = [found[place] for place in places]
    sizes = draws[0].plan.size or 0 if draws else 0, pan.plan.size or 0
    measured: list[Measured] = []
    if pan.log_odds:
        shift = _controlled("log_odds_shift", pan, draws, sizes, _largest)
        by_class, intervals = _by_class(pan, classes)
        measured = [
            replace(
                shift,
                classes=by_class,
                intervals=intervals,
                class_draws=_class_draws(by_class, draws, classes),
            ),
            _controlled("classes_shifted", pan, draws, sizes, _shifted),
        ]
        if shift.control is not None and shift.control.is_fair:
            excess = Measured(
                measure="log_odds_excess",
                value=shift.control.excess,
                interval=comparison.excess_interval(0, places),
            )
            measured.insert(1, excess)
    if pan.prediction_flips is not None:
        measured.append(_controlled("prediction_flips", pan, draws, sizes, _flips))
    measured.append(_controlled("sample_influence", pan, draws, sizes, _moved))
    if pan.accuracy is not None:
        measured.append(_controlled("accuracy_drop", pan, draws, sizes, _drop))
    return measured


def _controlled(
    name: str,
    pan: Influence,
    draws: Sequence[Influence],
    sizes: tuple[int, int],
    figure: Callable[[Influence], float],
) -> Measured:
    interval = pan.intervals.get(name)
    low, high = interval or (None, None)
    drawn = tuple(figure(draw) for draw in draws)
    control = Control(
        value=figure(pan), draws=drawn, low=low, high=high, drawn=sizes[0], pans=sizes[1]
    )
    return Measured(measure=name, value=control.value, control=control, interval=interval)


def _largest(influence: Influence) -> float:
    known = [abs(value) for value in influence.log_odds if not math.isnan(value)]
    return max(known, default=math.nan)


def _by_class(
    pan: Influence, classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return |log-odds| and its interval by class name.

    If several classes have the same name (ImageNet has two cranes), the most shifted one counts.
    """
    sizes: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    rows = zip(pan.log_odds, pan.log_odds_low, pan.log_odds_high, strict=True)
    for index, (middle, low, high) in enumerate(rows):
        name = class_label(classes, index)
        if math.isnan(middle):
            continue
        if abs(middle) >= sizes.get(name, 0.0):
            sizes[name] = abs(middle)
            least = max(low, -high, 0.0)
            intervals[name] = least, max(-low, high) + 0.0  # no negative zero
    return sizes, intervals


def _class_draws(
    by_class: Mapping[str, float], draws: Sequence[Influence], classes: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Return |log-odds| of each draw by class name; only classes that every draw knows."""
    known = [_by_class(draw, classes)[0] for draw in draws]
    return {
        name: tuple(draw[name] for draw in known)
        for name in by_class
        if known and all(name in draw for draw in known)
    }


def _shifted(influence: Influence) -> float:
    return float(sum(abs(value) > SHIFTED for value in influence.log_odds))


def _flips(influence: Influence) -> float:
    return float(influence.prediction_flips or 0)


def _moved(influence: Influence) -> float:
    return influence.sample_influence


def _drop(influence: Influence) -> float:
    return (influence.accuracy_before or 0.0) - (influence.accuracy or 0.0)


def origin_measures(neurons: Sequence[Neuron], origins: Origins) -> list[Measured]:
    """Return the measures of the PANs' origins, and the floor."""
    count, floor, intervals = len(neurons), origins.floor(), origins.intervals(neurons)
    shares = {
        "nascent_fraction": sum(bool(neuron.nascent) for neuron in neurons),
        "downstream_fraction": sum(bool(neuron.downstream) for neuron in neurons),
    }
    measured = [
        Measured(measure=name, value=part / count if count else 0.0, interval=intervals.get(name))
        for name, part in shares.items()
    ]
    if floor.neurons:
        share = floor.pans / floor.neurons
        measured.append(Measured(measure="pan_floor", value=share, interval=floor.interval))
    return measured


def class_label(classes: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number if it has none."""
    return classes[index] if index < len(classes) else str(index)


def output_notes(found: Sequence[Influence], comparison: Comparison) -> list[str]:
    """Return notes on what weakens or explains the figures of the outputs."""
    notes = []
    pan, every = found[0], found[-1]
    if comparison.task == "features":
        notes.append(
            f"no odds and no predictions: the outputs, {pan.outputs}, may be classes by pixel or "
            "not; set pan_task = segmentation, or pick logits by the fixture pan_outputs"
        )
    elif not pan.log_odds:
        notes.append(
            f"no odds: the outputs are {comparison.task}s, which have no class probabilities"
        )
    if "probabilities" in pan.outputs:
        notes.append(f"the outputs are {pan.outputs} already: no softmax or sigmoid was applied")
    if unknown := sum(math.isnan(value) for value in pan.log_odds):
        notes.append(
            f"no odds of {unknown} of {plural(len(pan.log_odds), 'class')}: all images together "
            "give a probability below 1e-30"
        )
    if len(pan.log_odds) == 1:
        notes.append("single class: treated as a binary decision (sigmoid)")
    if not comparison.has_outputs:
        notes.append("no figures of the outputs: no object was detected under any plan")
    if comparison.skips:
        notes.append(
            f"{plural(len(comparison.skips), 'image')} left out: non-finite outputs under at least "
            "one plan"
        )
    kept = [site for site in pan.plan.channels or {} if site in pan.not_swappable]
    if kept:
        count = sum(len((pan.plan.channels or {})[site]) for site in kept)
        notes.append(
            f"{count} of {plural(pan.plan.size or 0, 'PAN')} could not be swapped: the map is too "
            "small"
        )
    notes += comparison.notes
    if every.not_swappable:
        kept_by = plural(len(every.not_swappable), "layer")
        keep = "keeps its" if len(every.not_swappable) == 1 else "keep their"
        notes.append(f"{kept_by} {keep} padding under {every.plan.name}: the map is too small")
    draws = [i for i in found if i.plan.seed is not None]
    if draws and draws[0].plan.size != pan.plan.size:
        drawn = (
            f"{plural(draws[0].plan.size or 0, 'neuron')} for {plural(pan.plan.size or 0, 'PAN')}"
        )
        notes.append(f"random draws have {drawn}: some layers have too few non-PANs")
    if len(draws) < 2:
        few = plural(len(draws), "random draw")
        notes.append(f"{few}: too few to distinguish the effect from chance")
    return notes
