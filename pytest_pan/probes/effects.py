"""The second question put together: plans, one pass over the images, figures beside the control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pytest_pan.convergence import LEAST_IMAGES, Interval
from pytest_pan.distributed import ALONE, Processes
from pytest_pan.errors import InputError
from pytest_pan.instrument.halves import Halves
from pytest_pan.plans import SHIFTED, Control, Influence
from pytest_pan.probes.influence import Batch, Comparison
from pytest_pan.probes.origins import Origins
from pytest_pan.probes.outputs import Pick
from pytest_pan.probes.states import States
from pytest_pan.probes.swaps import Swap, plans
from pytest_pan.records import Measured, Neuron, Settings, Site, Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What the swaps showed."""

    influence: tuple[Influence, ...]
    neurons: tuple[Neuron, ...]
    """With nascent and downstream sides."""
    measures: Mapping[str, Measured]
    classes: tuple[str, ...]
    """The names given, if there are as many as the outputs have classes."""
    notes: tuple[str, ...]
    skips: tuple[Skip, ...]


def examine(
    model: nn.Module,
    batches: Iterable[tuple[int, Batch]],
    sites: Sequence[Site],
    neurons: Sequence[Neuron],
    *,
    settings: Settings,
    device: torch.device,
    classes: Sequence[str] = (),
    label_classes: int = 0,
    pick: Pick | None = None,
    tick: Callable[[int], None] = lambda done: None,
    expected: int | None = None,
    processes: Processes = ALONE,
    halves: Halves | None = None,
) -> Effects:
    """Runs every plan over the batches: the number of the first image, images on the device and
    labels or None.

    ``label_classes``: how many classes the labels are of, where the images know (class folders);
    labels of other classes than the model's are left out.

    The original pass and the pass with every padding swapped are looked at inside as well, which
    tells nascent from downstream neurons and gives the floor, at no further forward pass.
    """
    names = frozenset(site.name for site in sites)
    chosen = plans(sites, neurons, mode=settings.mode, draws=settings.draws, seed=settings.seed)
    swaps = [Swap(plan, names, device) for plan in chosen]
    origins = Origins(
        sites,
        neurons,
        swaps[-1],
        settings.theta,
        lambda part, of: States(
            settings.memory // part, expected=expected, processes=processes, of=of
        ),
        seed=settings.seed,
    )
    comparison = Comparison(
        swaps,
        task=settings.task,
        pick=pick,
        seed=settings.seed,
        label_classes=label_classes,
        original=origins.original,
        watch={swaps[-1].plan.name: origins.swapped},
        begin=origins.begin_part,
        end=origins.end_part,
    )
    halves = halves or Halves()
    for first, batch in batches:
        comparison.add(model, first, batch, halves)
        origins.end_batch(first, len(batch[0]))
        tick(comparison.images)
    origins.settle()
    comparison.share(processes)
    origins.finish()
    _check_any(comparison)
    found = comparison.findings()
    named = origins.named(neurons)
    said = list(_notes(found, comparison))
    if classes and found[0].log_odds and len(classes) != len(found[0].log_odds):
        said.append(f"{len(classes)} class names for {len(found[0].log_odds)} classes: not used")
        classes = ()
    asked = [neuron for neuron in named if neuron.site in origins.answered]
    if len(asked) < len(named):
        open_ = len(named) - len(asked)
        said.append(f"the origin of {open_} of {len(named)} PANs is open: not swappable there")
    measured = _of_origins(asked, origins) if asked or not named else []
    if not _swaps_nothing(found[0]) and comparison.has_outputs:
        measured = [*_of_outputs(found, comparison, classes), *measured]
    if comparison.images < LEAST_IMAGES:
        measured = [replace(each, interval=None, intervals={}) for each in measured]
    return Effects(
        influence=found,
        neurons=named,
        measures={m.measure: m for m in measured},
        classes=tuple(classes),
        notes=tuple(said),
        skips=tuple(
            Skip(what=what, why=why, at_best="inconclusive", probe="influence")
            for what, why in comparison.skips.items()
        ),
    )


def _swaps_nothing(pan: Influence) -> bool:
    """Whether there are PANs and none of them could be swapped: that would look like no effect."""
    channels = pan.plan.channels or {}
    return bool(pan.plan.size) and set(channels) <= set(pan.not_swappable)


def _check_any(comparison: Comparison) -> None:
    if not comparison.images:
        where, why = next(iter(comparison.skips.items()), ("", ""))
        raise InputError(
            "no image has finite outputs under every plan",
            got=f"{len(comparison.skips)} without, first {where}: {why}",
            next="Are the images scaled as in training?",
        )


def _of_outputs(
    found: Sequence[Influence], comparison: Comparison, classes: Sequence[str]
) -> list[Measured]:
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


def _of_origins(neurons: Sequence[Neuron], origins: Origins) -> list[Measured]:
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


def _notes(found: Sequence[Influence], comparison: Comparison) -> list[str]:
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


def to_device(batch: tuple[Tensor, Tensor | None], device: torch.device) -> Batch:
    """A batch with its images on the device; labels stay."""
    images, labels = batch
    return images.to(device, non_blocking=True), labels
