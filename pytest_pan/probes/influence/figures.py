"""The measures of the probe ``influence``: figures of the PANs beside the random control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_pan.probes.influence.comparison import Comparison
from pytest_pan.probes.influence.origins import Origins
from pytest_pan.probes.influence.records import SHIFTED, Influence
from pytest_pan.records.measures import Control, Interval, Measured
from pytest_pan.records.neurons import Neuron


def of_outputs(
    found: Sequence[Influence], comparison: Comparison, classes: Sequence[str]
) -> list[Measured]:
    """Return the measures of what the PANs' plan, the first of those found, did to the outputs."""
    pan = found[0]
    places = [
        place
        for place, i in enumerate(found)
        if i.plan.seed is not None and (i.plan.size or not pan.plan.size)
    ]
    draws = [found[place] for place in places]
    measured: list[Measured] = []
    if pan.log_odds:
        shift = _controlled("log_odds_shift", pan, draws, _largest)
        by_class, intervals = _by_class(pan, classes)
        measured = [
            replace(shift, classes=by_class, intervals=intervals),
            _controlled("classes_shifted", pan, draws, _shifted),
        ]
        if draws and shift.control is not None:
            excess = Measured(
                measure="log_odds_excess",
                value=shift.control.excess,
                interval=comparison.excess_interval(0, places),
            )
            measured.insert(1, excess)
    if pan.prediction_flips is not None:
        measured.append(_controlled("prediction_flips", pan, draws, _flips))
    measured.append(_controlled("sample_influence", pan, draws, lambda i: i.sample_influence))
    if pan.accuracy is not None:
        measured.append(_controlled("accuracy_drop", pan, draws, _drop))
    return measured


def _controlled(
    name: str, pan: Influence, draws: Sequence[Influence], figure: Callable[[Influence], float]
) -> Measured:
    interval = pan.intervals.get(name)
    low, high = interval or (None, None)
    drawn = tuple(figure(draw) for draw in draws)
    control = Control(value=figure(pan), draws=drawn, low=low, high=high)
    return Measured(measure=name, value=control.value, control=control, interval=interval)


def _largest(influence: Influence) -> float:
    return max(map(abs, influence.log_odds))


def _by_class(
    pan: Influence, classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, Interval]]:
    """By class its |log-odds| and their interval; of two of one name (ImageNet has two cranes)
    those of the one that moves more.
    """
    sizes: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    rows = zip(pan.log_odds, pan.log_odds_low, pan.log_odds_high, strict=True)
    for index, (middle, low, high) in enumerate(rows):
        name = name_of(classes, index)
        if abs(middle) >= sizes.get(name, 0.0):
            sizes[name] = abs(middle)
            least = max(low, -high, 0.0)
            intervals[name] = least, max(-low, high)
    return sizes, intervals


def _shifted(influence: Influence) -> float:
    return float(sum(abs(value) > SHIFTED for value in influence.log_odds))


def _flips(influence: Influence) -> float:
    return float(influence.prediction_flips or 0)


def _drop(influence: Influence) -> float:
    return (influence.accuracy_before or 0.0) - (influence.accuracy or 0.0)


def of_origins(neurons: Sequence[Neuron], origins: Origins) -> list[Measured]:
    """Return the measures of where these PANs' sides come from, and the floor."""
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


def name_of(classes: Sequence[str], index: int) -> str:
    """A class by its name, or by its number where names are not known."""
    return classes[index] if index < len(classes) else str(index)


def notes_on(found: Sequence[Influence], comparison: Comparison) -> list[str]:
    """Return what weakens or explains the figures of the outputs."""
    notes = []
    pan, every = found[0], found[-1]
    if not pan.log_odds:
        notes.append(
            f"no odds: the outputs are {comparison.task}s, which have no class probabilities"
        )
    if len(pan.log_odds) == 1:
        notes.append("one class: its probability is taken as a yes or no (sigmoid)")
    if not comparison.has_outputs:
        notes.append("nothing was detected, with or without swaps: no figures of the outputs")
    if comparison.skips:
        notes.append(f"{len(comparison.skips)} images left out: outputs not finite under a plan")
    kept = [site for site in pan.plan.channels or {} if site in pan.not_swappable]
    if kept:
        count = sum(len((pan.plan.channels or {})[site]) for site in kept)
        notes.append(f"{count} of {pan.plan.size} PANs could not be swapped: too small a map")
    notes += comparison.notes
    if every.not_swappable:
        count = len(every.not_swappable)
        notes.append(f"{count} layers keep their padding under {every.plan.name}: too small a map")
    draws = [i for i in found if i.plan.seed is not None]
    if draws and draws[0].plan.size != pan.plan.size:
        drawn = f"{draws[0].plan.size} neurons for {pan.plan.size} PANs"
        notes.append(f"random draws have {drawn}: some layers have too few others")
    if len(draws) < 2:
        notes.append(f"{len(draws)} random draws: too few to say what is more than chance")
    return notes
