"""One round over the images: each distinct forward pass runs once a batch, for all that asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pytest_pan.instrument.halves import Halves
from pytest_pan.instrument.sites import OTHER_ALONE
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.probes.observer import ORIGINAL, Observer, Part, Pass
from pytest_pan.probes.swaps import Swap

Batch = tuple[Tensor, Tensor | None]
"""Images (N, C, H, W) on the device, and labels (N,) or None."""


@dataclass
class _Shared:
    """A pass with all that asked for it."""

    this: Pass
    swap: Swap | None
    observers: dict[str, Observer] = field(default_factory=dict)
    seconds: float = 0.0


class Round:
    """The passes that the observers asked for, by name of the probe.

    ``sites`` are those that a plan for every channel swaps. :attr:`seconds` is the time by probe
    once the round is over; a pass that several asked for counts in equal parts.
    """

    def __init__(
        self,
        model: nn.Module,
        asked: Mapping[str, tuple[Observer, Sequence[Pass]]],
        *,
        device: torch.device,
        sites: Iterable[str] = (),
        halves: Halves | None = None,
    ) -> None:
        self._model, self._device = model, device
        self._halves = halves or Halves()
        self._observers = {name: observer for name, (observer, _) in asked.items()}
        self._shared = _distinct(asked, frozenset(sites), device)
        self._taps = [self._tap(shared) for shared in self._shared]
        self._seconds = dict.fromkeys(self._observers, 0.0)
        self._skips_told: set[tuple[int, str]] = set()

    def run(
        self, batches: Iterable[tuple[int, Batch]], tick: Callable[[int], None] = lambda done: None
    ) -> None:
        """Run all passes over the batches: number of the first image, images and labels."""
        done = 0
        for first, (images, labels) in batches:

            def look(part: range, first: int = first, batch: Batch = (images, labels)) -> None:
                self._look(_part(first, part, batch))

            self._halves.run(len(images), look)
            if not done:
                self._compare_alone(images)
            for name, observer in self._observers.items():
                with self._timed(name):
                    observer.end_batch(first, len(images))
            done += len(images)
            tick(done)
        for name, observer in self._observers.items():
            with self._timed(name):
                observer.finish()

    @property
    def seconds(self) -> dict[str, float]:
        """The time of the passes and of what was done with them, by probe."""
        found = dict(self._seconds)
        for shared in self._shared:
            for name in shared.observers:
                found[name] += shared.seconds / len(shared.observers)
        return found

    def _look(self, part: Part) -> None:
        for observer in self._observers.values():
            observer.begin(part)
        for place, shared in enumerate(self._shared):
            is_last = place == len(self._shared) - 1
            self._forward(shared, self._taps[place], part, keeps_draws=is_last)
        for name, observer in self._observers.items():
            with self._timed(name):
                observer.end(part)

    def _forward(self, shared: _Shared, tap: Tap, part: Part, *, keeps_draws: bool) -> None:
        """One pass. Every pass draws the same random numbers, if the model draws any: the
        generators move on with the last one only.
        """
        started = now(self._device)
        if shared.swap is not None:
            shared.swap.begin(part.first)
        images = part.images.clone()  # the model may write to it: no other pass, no user sees that
        if shared.this.inputs is not None:
            images = shared.this.inputs(images)
        fork = nullcontext() if keeps_draws else torch.random.fork_rng(_gpus_of(images))
        with fork, tapped(tap):  # not around the loop: a Dataset may run convolutions of its own
            tap.begin(len(part))
            output: object = self._model(images)
        self._tell_skips(shared)
        for observer in shared.observers.values():
            observer.output(shared.this, part, output)
        shared.seconds += now(self._device) - started

    def _compare_alone(self, images: Tensor) -> None:
        """Pass over the convolutions that may mix the images of a batch, and give other maps when
        the first image runs alone.
        """
        for shared, tap in zip(self._shared, self._taps, strict=True):
            if len(images) == 1 or not tap.may_mix or shared.this != ORIGINAL:
                continue

            def see(call: ConvCall, shared: _Shared = shared, tap: Tap = tap) -> None:
                if not _alike(call.maps, tap.may_mix.get(call.name, call.maps)):
                    for observer in shared.observers.values():
                        observer.pass_over(shared.this, call.name, OTHER_ALONE)

            alone = Tap(self._model, see)
            with suppress(Exception), torch.random.fork_rng(_gpus_of(images)), tapped(alone):
                alone.begin(1)
                self._model(images[:1].clone())

    def _tap(self, shared: _Shared) -> Tap:
        this, observers = shared.this, shared.observers

        def see(call: ConvCall) -> Tensor | None:
            for observer in observers.values():
                observer.see(this, call, is_swapped=False)
            swapped = None if shared.swap is None else shared.swap.see(call)
            if swapped is not None:
                for observer in observers.values():
                    observer.see(this, replace(call, output=swapped), is_swapped=True)
            return swapped

        def pass_over(name: str, why: str) -> None:
            for observer in observers.values():
                observer.pass_over(this, name, why)

        return Tap(self._model, see, pass_over)

    def _tell_skips(self, shared: _Shared) -> None:
        for site, why in shared.swap.skips.items() if shared.swap else ():
            if (id(shared), site) not in self._skips_told:
                self._skips_told.add((id(shared), site))
                for observer in shared.observers.values():
                    observer.keep_padding(shared.this, site, why)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started


def _distinct(
    asked: Mapping[str, tuple[Observer, Sequence[Pass]]],
    sites: frozenset[str],
    device: torch.device,
) -> list[_Shared]:
    found: list[_Shared] = []
    for name, (observer, passes) in asked.items():
        for this in passes:
            shared = next((each for each in found if each.this == this), None)
            if shared is None:
                swap = None if this.plan is None else Swap(this.plan, sites, device)
                shared = _Shared(this, swap)
                found.append(shared)
            shared.observers[name] = observer
    return found


def _part(first: int, part: range, batch: Batch) -> Part:
    images, labels = batch
    these = slice(part.start, part.stop)
    mine = None if labels is None else labels[these]
    return Part(first + part.start, first, images[these], mine)


def _gpus_of(images: Tensor) -> list[torch.device]:
    """Return the GPU that the images are on, whose generator a fork has to include."""
    return [images.device] if images.is_cuda else []


def _alike(maps: Tensor, others: Tensor) -> bool:
    """Return whether maps are equal but for rounding, which differs with the batch size."""
    if maps.shape != others.shape:
        return False
    difference = (maps.double() - others.double()).norm()
    return not difference > 0.05 * maps.double().norm()


def now(device: torch.device) -> float:
    """Return the seconds on a clock, once a GPU has done what it was asked for."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # of a pass that failed, which has been reported
            torch.cuda.synchronize(device)
    return time.perf_counter()
