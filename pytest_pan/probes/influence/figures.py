"""Computation of the measures of the probe ``influence``, with the random control."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pytest_pan.probes.influence.comparison import Comparison
from pytest_pan.probes.influence.origins import Origins
from pytest_pan.probes.influence.records import SHIFTED, Influence, class_label
from pytest_pan.records.measures import Control, Interval, Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.text import plural
from pytest_pan.stats import intervals
from pytest_pan.stats.controls import LEAST_DRAWS


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
    controlled = partial(_controlled, pan=pan, draws=draws, sizes=sizes)
    measured: list[Measured] = []
    if pan.log_odds:
        support = comparison.support
        figure = partial(_largest, support=support, least=comparison.least_support)
        largest = controlled("log_odds_shift", figure=figure)
        measured = [
            _with_classes(largest, pan, draws, classes, support),
            controlled("mean_log_odds_shift", figure=_mean_shift),
            controlled("prediction_divergence", figure=_divergence),
            _shifted(pan, support, comparison.least_support),
        ]
        measured += _excesses(measured, comparison, places)
    if pan.prediction_flips is not None:
        measured.append(controlled("prediction_flips", figure=_flips))
    measured.append(controlled("sample_influence", figure=_moved))
    if pan.accuracy is not None:
        measured.append(controlled("accuracy_drop", figure=_drop))
    return measured


def _excesses(
    measured: Sequence[Measured], comparison: Comparison, places: Sequence[int]
) -> Iterator[Measured]:
    """Yield the measures that compare PANs to random neurons, if these are a fair control."""
    shift, mean = (each.control for each in measured[:2])
    is_several = len(places) >= LEAST_DRAWS
    if shift is not None and shift.is_fair and not math.isnan(shift.excess):
        ends = comparison.excess_interval(0, places) if is_several else None
        yield Measured(measure="log_odds_excess", value=shift.excess, interval=ends)
    if mean is not None and mean.is_fair and all(mean.draws):
        ends = comparison.ratio_interval(0, places) if is_several else None
        middle = sum(mean.draws) / len(mean.draws)
        yield Measured(measure="log_odds_ratio", value=mean.value / middle, interval=ends)


def _controlled(
    name: str,
    *,
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


def _largest(influence: Influence, support: Sequence[float], least: float) -> float:
    return max(map(abs, _supported(influence, support, least)), default=math.nan)


def _supported(influence: Influence, support: Sequence[float], least: float) -> list[float]:
    """Return the log-odds of the classes that have at least that much support."""
    pairs = zip(influence.log_odds, support, strict=True)
    return [value for value, mass in pairs if mass >= least and not math.isnan(value)]


def _shifted(pan: Influence, support: Sequence[float], least: float) -> Measured:
    count = sum(abs(value) > SHIFTED for value in _supported(pan, support, least))
    return Measured(measure="classes_shifted", value=float(count))


def _with_classes(
    shift: Measured,
    pan: Influence,
    draws: Sequence[Influence],
    classes: Sequence[str],
    support: Sequence[float],
) -> Measured:
    """Add the values of the single classes."""
    chosen = _by_class(pan, classes)
    sizes = {name: abs(pan.log_odds[index]) for name, index in chosen.items()}
    return replace(
        shift,
        classes=sizes,
        intervals={name: _size_interval(pan, index) for name, index in chosen.items()},
        support={name: support[index] for name, index in chosen.items()},
        class_draws=_class_draws(sizes, draws, classes),
    )


def _by_class(influence: Influence, classes: Sequence[str]) -> dict[str, int]:
    """Return the index of each class by its name.

    If several classes have the same name (ImageNet has two cranes), the most shifted one counts.
    Classes without odds are left out.
    """
    chosen: dict[str, int] = {}
    for index, value in enumerate(influence.log_odds):
        name = class_label(classes, index)
        if math.isnan(value):
            continue
        if name not in chosen or abs(value) >= abs(influence.log_odds[chosen[name]]):
            chosen[name] = index
    return chosen


def _size_interval(influence: Influence, index: int) -> Interval:
    """Return the interval of |log-odds| of a class."""
    low, high = influence.log_odds_low[index], influence.log_odds_high[index]
    return max(low, -high, 0.0), max(-low, high) + 0.0  # no negative zero


def _class_draws(
    names: Iterable[str], draws: Sequence[Influence], classes: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Return |log-odds| of each draw by class name; only classes that every draw knows."""
    known = [
        {name: abs(draw.log_odds[index]) for name, index in _by_class(draw, classes).items()}
        for draw in draws
    ]
    return {
        name: tuple(draw[name] for draw in known)
        for name in names
        if known and all(name in draw for draw in known)
    }


def _mean_shift(influence: Influence) -> float:
    return influence.mean_log_odds_shift or 0.0


def _divergence(influence: Influence) -> float:
    return influence.divergence or 0.0


def _flips(influence: Influence) -> float:
    return float(influence.prediction_flips or 0)


def _moved(influence: Influence) -> float:
    return influence.sample_influence


def _drop(influence: Influence) -> float:
    return (influence.accuracy_before or 0.0) - (influence.accuracy or 0.0)


def origin_measures(neurons: Sequence[Neuron], origins: Origins) -> list[Measured]:
    """Return the measures of the PANs' origins, and the floor."""
    count, floor = len(neurons), origins.floor()
    shares = {
        "nascent_fraction": sum(bool(neuron.nascent) for neuron in neurons),
        "downstream_fraction": sum(bool(neuron.downstream) for neuron in neurons),
    }
    measured = [
        Measured(
            measure=name,
            value=part / count if count else 0.0,
            interval=intervals.of_proportion(part, count) if count else None,
        )
        for name, part in shares.items()
    ]
    if floor.neurons:
        share = floor.pans / floor.neurons
        measured.append(Measured(measure="pan_floor", value=share, interval=floor.interval))
    return measured


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
    if pan.log_odds and (rare := _unsupported(comparison)):
        least = comparison.least_support
        notes.append(
            f"{rare} of {len(pan.log_odds):,} classes have little support, less than {least:g} "
            "(the sum of their probabilities over all images): log_odds_shift and classes_shifted "
            "leave them out"
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


def _unsupported(comparison: Comparison) -> int:
    return sum(mass < comparison.least_support for mass in comparison.support)
