"""Which channels a plan swaps, and the swap itself during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site


def plans(
    sites: Sequence[Site], neurons: Iterable[Neuron], *, mode: str, draws: int, seed: int
) -> Iterator[Plan]:
    """PAN-, RAND- (several draws) and the full swap, in this order (PAN section 4).

    A RAND plan has as many neurons in each layer as there are PANs, drawn among the others; where
    a layer has not so many others, all of them.
    """
    pans: dict[str, list[int]] = {}
    for neuron in neurons:
        pans.setdefault(neuron.site, []).append(neuron.channel)
    chosen = {site: tuple(channels) for site, channels in pans.items()}
    yield Plan(name=f"PAN-{mode}", mode=mode, channels=chosen)
    channels = {site.name: site.channels for site in sites}
    for draw in range(draws):
        generator = torch.Generator().manual_seed(seed + draw)
        drawn = {site: _others(channels[site], taken, generator) for site, taken in chosen.items()}
        yield Plan(name=f"RAND-{mode}", mode=mode, seed=seed + draw, channels=drawn)
    yield Plan(name=mode, mode=mode)


def _others(count: int, taken: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
    free = sorted(set(range(count)) - set(taken))
    order = torch.randperm(len(free), generator=generator)[: len(taken)].tolist()
    return tuple(sorted(free[place] for place in order))


@dataclass
class Swap:
    """A plan at work: give :meth:`see` to a tap. ``skips`` fills with what could not be swapped."""

    plan: Plan
    sites: frozenset[str]
    """The sites that a plan without channels swaps: those examined."""
    device: torch.device
    skips: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chosen: Mapping[str, tuple[int, ...]] = self.plan.channels or {}
        self._channels: dict[str, Tensor | None] = {
            site: torch.tensor(channels, device=self.device)
            for site, channels in chosen.items()
            if channels
        }
        if self.plan.channels is None:
            self._channels = dict.fromkeys(self.sites)
        self._generator = torch.Generator()
        self.begin(0)

    def begin(self, first: int) -> None:
        """Before the passes over images from number ``first`` on: draws of noise are theirs."""
        own = np.random.SeedSequence((self.plan.seed or 0, first)).generate_state(1, np.uint64)
        self._generator.manual_seed(int(own[0]) >> 1)

    def see(self, call: ConvCall) -> Tensor | None:
        """The call's output with the plan's channels repadded; None where it has none of them."""
        if call.name not in self._channels:
            return None
        try:
            return repad(call, self._channels[call.name], self.plan.mode, self._generator)
        except NotSwappableError as error:
            self.skips[call.name] = str(error)
            return None


def run(model: nn.Module, images: Tensor, see: Callable[[ConvCall], Tensor | None]) -> object:
    """One forward pass with ``see`` at each convolution."""
    with tapped(Tap(model, see)) as tap:
        tap.begin()
        output: object = model(images)
        return output
