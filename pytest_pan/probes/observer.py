"""Protocol between the engine and the probes: passes, observers and findings.

An audit goes over the images in rounds. Before each round every observer returns the passes it
needs next, given the findings so far. The engine runs each distinct pass once per batch and shows
it to every observer that requested it. An observer that needs no more passes returns its findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from pytest_pan.instrument.processes import ALONE, Processes
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.bench import Bench
from pytest_pan.probes.original import OriginalOutputs
from pytest_pan.probes.outputs import Pick
from pytest_pan.records.audit import Audit, Findings, Settings, Skip
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site


class Inputs(Protocol):
    """Transform of the images before the forward pass; equal transforms share one pass."""

    @property
    def name(self) -> str:
        """Label shown to users: ``zero row at 0.5``."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the transformed images: (N, C, H, W) -> (N, C, h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Forward pass, defined by its input transform and its padding plan."""

    inputs: Inputs | None = None
    """None for unchanged images."""
    plan: Plan | None = None
    """None for the network's own padding."""

    @property
    def name(self) -> str:
        """Label shown to users."""
        plan = self.plan
        seed = "" if plan is None or plan.seed is None else f", seed {plan.seed}"
        parts = [self.inputs.name if self.inputs else "", f"{plan.name}{seed}" if plan else ""]
        return ", ".join(part for part in parts if part) or "original"


ORIGINAL = Pass()
"""Unchanged images through the unchanged network."""


@dataclass(frozen=True, slots=True)
class Part:
    """Images that run together: a whole batch, or a slice of it if device memory is short."""

    first: int
    """Index of the first image, counted over the whole audit."""
    batch: int
    """Index of the first image of the batch."""
    images: Tensor
    """(N, C, H, W), on the device."""
    labels: Tensor | None
    """(N,) or None."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass
class Units:
    """Units of sampling: images that are not independent, such as crops of one photograph, share
    one. Without ``groups`` each image is one.
    """

    groups: Sequence[int] | None = None
    """Number of the group of each image, by its place in the source."""
    _places: dict[int, int] = field(default_factory=dict)

    def add(self, first: int, places: Iterable[int]) -> None:
        """Note the places in the source of images that have the indices from ``first`` on."""
        if self.groups is not None:
            self._places |= {first + index: place for index, place in enumerate(places)}

    def of(self, first: int, images: int) -> Tensor:
        """Return the unit of each image from index ``first`` on: (images,) int."""
        indices = range(first, first + images)
        if self.groups is None:
            return torch.arange(first, first + images)
        return torch.tensor([self.groups[self._places.get(i, i)] for i in indices])


@dataclass(kw_only=True)
class Context:
    """State shared by the observers of one audit."""

    model: nn.Module
    settings: Settings
    device: torch.device
    processes: Processes = ALONE
    expected: int | None = None
    """Number of images over all processes; None if the source does not report it."""
    pick: Pick | None = None
    """User function that extracts the outputs to compare from what the model returns."""
    classes: Sequence[str] = ()
    """Class names as given by the user; their number may differ from the number of outputs."""
    label_classes: int = 0
    """Number of classes among the labels if the source defines it (class folders), else 0."""
    units: Units = field(default_factory=Units)
    large_images: Iterable[Tensor] | None = None
    """Batches (N, C, H, W) of images larger than the network's input, of any sizes; may be iterated
    more than once. None if the user gives none."""
    large_units: Units = field(default_factory=Units)
    """Their units of sampling."""
    activations: States
    """Activations of the examined sites in the original pass; cleared after the next round."""
    original: OriginalOutputs
    """Outputs of the original pass, if they fit in memory."""

    @property
    def bench(self) -> Bench:
        """For passes on inputs of the probe's own."""
        return Bench(self.model, self.settings, self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Results that a probe adds to the audit."""

    findings: Findings | None = None
    """None for a probe that failed."""
    measures: Mapping[str, Measured] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()
    sites: tuple[Site, ...] | None = None
    """Examined sites, set by the probe that finds them; else None."""
    neurons: tuple[Neuron, ...] | None = None
    """PANs, set by probes that find them or add to their records; else None."""
    classes: tuple[str, ...] | None = None
    """Class names, set by probes that examine outputs; else None."""


class Observer(Protocol):
    """Component of a probe that observes forward passes; constructed with a :class:`Context`.

    Only :meth:`passes` and :meth:`findings` are required; the other methods do nothing by default.
    """

    adds_up: bool = True
    """Whether the results of processes that share the images can be merged. If not, every process
    sees all images."""
    stands_alone: bool = False
    """Whether only its own figures are missing if it fails; the audit goes on then."""

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        """Return the passes needed next; empty when done, None to wait for other probes' findings.

        ``known`` is the audit so far, with the findings of the probes that have finished.
        """

    def findings(self, known: Audit) -> Found:
        """Return the results; called once :meth:`passes` has returned an empty sequence."""

    def begin(self, part: Part) -> None:
        """Start the passes over some images.

        If the device runs out of memory in one of them, all passes restart with fewer images, and
        everything observed since the last :meth:`begin` must be discarded.
        """

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        """Observe a convolution call; called again after the swap where the plan swaps padding.

        The output tensor belongs to the model: copy whatever you keep.
        """

    def pass_over(self, this: Pass, name: str, why: str) -> None:
        """Record a convolution that cannot be observed, and the reason."""

    def keep_padding(self, this: Pass, site: str, why: str) -> None:
        """Record a site whose padding the plan could not swap, and the reason."""

    def output(self, this: Pass, part: Part, output: object) -> None:
        """Receive the model's return value at the end of a pass over some images."""

    def end(self, part: Part) -> None:
        """Finish the images: all passes over them have succeeded."""

    def end_batch(self, first: int, images: int) -> None:
        """Finish a batch, given the index of its first image and its number of images."""

    def finish(self) -> None:
        """Merge the results of all processes after the last batch of a round."""

    def interrupted(self) -> Found | None:
        """Return partial results of an audit that stopped early; None if there are none."""
        return None
