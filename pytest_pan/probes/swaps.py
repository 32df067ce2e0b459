"""Choose the channels that each plan swaps, and swap their padding during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.tap import ConvCall, PoolCall, Tap, tapped
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site


def plans(
    sites: Sequence[Site], neurons: Iterable[Neuron], *, mode: str, draws: int, seed: int
) -> Iterator[Plan]:
    """Yield the PAN plan, ``draws`` RAND plans and the full swap, in this order (PAN section 4).

    A RAND plan draws as many non-PANs in each layer as the layer has PANs, or all of its non-PANs
    if it has fewer.
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
    """Applies a plan during a forward pass: pass :meth:`see` to a tap."""

    plan: Plan
    sites: frozenset[str]
    """Examined sites; a plan without channels swaps all of them."""
    device: torch.device
    skips: dict[str, str] = field(default_factory=dict)
    """Sites that could not be swapped, with the reason."""

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
        """Seed the noise for the images from index ``first`` on."""
        seed = np.random.SeedSequence((self.plan.seed or 0, first)).generate_state(1, np.uint64)
        self._generator.manual_seed(int(seed[0]) >> 1)

    def see(self, call: ConvCall) -> Tensor | None:
        """Return the output with the plan's channels repadded; None if nothing is swapped here."""
        if call.name not in self._channels:
            return None
        try:
            return repad(call, self._channels[call.name], self.plan.mode, self._generator)
        except NotSwappableError as error:
            self.skips[call.name] = str(error)
            return None


def run(
    model: nn.Module,
    images: Tensor,
    see: Callable[[ConvCall], Tensor | None],
    see_pool: Callable[[PoolCall], None] | None = None,
) -> object:
    """Run one forward pass with ``see`` called at each convolution, ``see_pool`` at each pool."""
    with tapped(Tap(model, see, see_pool=see_pool)) as tap:
        tap.begin(len(images))
        output: object = model(images)
        return output
