"""Forward passes on inputs that a probe makes itself, outside the rounds over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pytest_pan.instrument.gate import borrowed
from pytest_pan.instrument.tap import ConvCall, PoolCall
from pytest_pan.probes import swaps
from pytest_pan.probes.swaps import Swap
from pytest_pan.records.audit import Settings
from pytest_pan.records.plans import Plan

See = Callable[[ConvCall], None]
SeePool = Callable[[PoolCall], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """The model of an audit for passes on a probe's own inputs: zeros, noise, larger images."""

    model: nn.Module
    settings: Settings
    device: torch.device

    @contextmanager
    def open(self, sites: Iterable[str] = ()) -> Iterator[Runner]:
        """Lend the model for some passes; afterwards it is as before.

        ``sites`` are those that a plan for every channel swaps.
        """
        gate = borrowed(
            self.model,
            seed=self.settings.seed,
            precision=self.settings.precision,
            device=self.device,
        )
        with gate as ready:
            yield Runner(ready, self.device, frozenset(sites))


@dataclass(slots=True)
class Runner:
    """Runs passes through the borrowed model."""

    model: nn.Module
    device: torch.device
    sites: frozenset[str]
    not_swappable: dict[str, str] = field(default_factory=dict)
    """Sites whose padding a plan could not swap, with the reason."""

    def __call__(
        self,
        inputs: Tensor,
        *,
        plan: Plan | None = None,
        see: See | None = None,
        see_pool: SeePool | None = None,
    ) -> object:
        """Return what the model returns for inputs (N, C, H, W), with the padding of a plan.

        ``see`` is called with each convolution, whose output is that after the swap, ``see_pool``
        with each max, average or power-average pool. The inputs are not changed. Every pass draws
        the same random numbers.
        """
        swap = None if plan is None else Swap(plan, self.sites, self.device)

        def watch(call: ConvCall) -> Tensor | None:
            swapped = None if swap is None else swap.see(call)
            if see is not None:
                see(call if swapped is None else replace(call, output=swapped))
            return swapped

        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):
            output = swaps.run(self.model, inputs.to(self.device, copy=True), watch, see_pool)
        if swap is not None:
            self.not_swappable |= swap.skips
        return output
