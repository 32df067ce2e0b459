"""Our labels and statistics beside those of the published loop, on the same activations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import reference
import torch

from pytest_pan.probes.activations.states import States
from pytest_pan.records.neurons import Neuron


@dataclass
class Agreement:
    """What the loop found, how far ours is from it, and how long the loop took."""

    neurons: int = 0
    types: Counter[str] = field(default_factory=Counter)
    labels: int = 0
    """Neurons whose type differs."""
    largest: float = 0.0
    """The largest difference of any statistic of a PAN."""
    seconds: float = 0.0


def agreement(states: States, ours: Iterable[Neuron]) -> Agreement:
    """Runs the loop over every neuron of every site."""
    found, result = {(neuron.site, neuron.channel): neuron for neuron in ours}, Agreement()
    for name, state in states.by_site.items():
        maps = torch.cat(state.samples.maps).cpu().numpy()
        for channel in range(state.site.channels):
            started = time.perf_counter()
            kind, tables = reference.examine(maps, channel)
            result.seconds += time.perf_counter() - started
            mine = found.get((name, channel))
            result.neurons += 1
            result.types[kind] += bool(kind)
            result.labels += kind != (str(mine.type) if mine else "")
            if mine is not None:
                result.largest = max(result.largest, _difference(mine, tables))
    return result


def _difference(mine: Neuron, tables: dict[str, tuple[float, float, float]]) -> float:
    return max(
        abs(ours - theirs)
        for side, row in tables.items()
        for ours, theirs in zip(
            (mine.ks[side], mine.ks_plus[side], mine.ks_minus[side]), row, strict=True
        )
    )
