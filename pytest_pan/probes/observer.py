"""What runs a probe: the passes it asks for, what it sees of them, and what it found.

An audit goes over the images in rounds. Before each round every observer says which passes it needs
next, given what is known; the engine runs each distinct pass once a batch and shows it to all that
asked for it. An observer that needs no more passes gives its findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from pytest_pan.instrument.processes import ALONE, Processes
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.original import OriginalOutputs
from pytest_pan.probes.outputs import Pick
from pytest_pan.records.audit import Audit, Findings, Settings, Skip
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site


class Inputs(Protocol):
    """A change of the images before the forward pass; two that are equal are the same pass."""

    @property
    def name(self) -> str:
        """What the change is, for people: ``zero row at 0.5``."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the changed images: (N, C, H, W) -> (N, C, h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A forward pass: which images, and which padding."""

    inputs: Inputs | None = None
    """None for the images as they are."""
    plan: Plan | None = None
    """None for the network's own padding."""

    @property
    def name(self) -> str:
        """The pass, for people."""
        plan = self.plan
        seed = "" if plan is None or plan.seed is None else f", seed {plan.seed}"
        parts = [self.inputs.name if self.inputs else "", f"{plan.name}{seed}" if plan else ""]
        return ", ".join(part for part in parts if part) or "original"


ORIGINAL = Pass()
"""The images as they are through the network as it is."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some images of one batch: all, unless the device has no memory for that."""

    first: int
    """Number of the first image, over the whole audit."""
    batch: int
    """Number of the first image of the batch."""
    images: Tensor
    """(N, C, H, W), on the device."""
    labels: Tensor | None
    """(N,) or None."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(kw_only=True)
class Context:
    """What the observers of one audit have in common."""

    model: nn.Module
    settings: Settings
    device: torch.device
    processes: Processes = ALONE
    expected: int | None = None
    """Images to come, over all processes; None where the source does not say."""
    pick: Pick | None = None
    """The user's way from what the model returns to what counts."""
    classes: Sequence[str] = ()
    """Names of the classes as given; they may not be as many as the outputs have."""
    label_classes: int = 0
    """Number of classes that the labels are of, where the images say so (class folders); else 0."""
    activations: States
    """What the examined sites gave in the original pass. Emptied after the round that follows."""
    original: OriginalOutputs
    """The outputs of the original pass, where they fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a probe adds to the audit."""

    findings: Findings
    measures: Mapping[str, Measured] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()
    sites: tuple[Site, ...] | None = None
    """The examined sites, from the probe that finds them; else None."""
    neurons: tuple[Neuron, ...] | None = None
    """The PANs, where this probe finds them or knows more about them; else None."""
    classes: tuple[str, ...] | None = None
    """Names of the classes, where this probe looks at outputs; else None."""


class Observer(Protocol):
    """The part of a probe that looks at forward passes; made with a :class:`Context`.

    The methods with a body need not be written by a probe that has nothing to do there.
    """

    adds_up: bool = True
    """Whether what several processes see of their share of the images can be put together. If not,
    each of them sees all images."""

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        """Return the passes needed next; none when done, None to wait for other probes' findings.

        ``known`` is the audit so far, with the findings of the probes that are done.
        """

    def findings(self, known: Audit) -> Found:
        """Return what was found, once :meth:`passes` has returned none."""

    def begin(self, part: Part) -> None:
        """Start of the passes over some images. Where the device runs out of memory in one of them,
        all begin anew with fewer images; what was seen since the last :meth:`begin` is void then.
        """

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        """One convolution of a pass; where the plan swaps padding, a second time after the swap.

        The call's output belongs to the model: what is kept must be copied.
        """

    def pass_over(self, this: Pass, name: str, why: str) -> None:
        """A convolution of a pass that cannot be looked into."""

    def keep_padding(self, this: Pass, site: str, why: str) -> None:
        """A site whose padding the plan could not swap."""

    def output(self, this: Pass, part: Part, output: object) -> None:
        """What the model returned at the end of a pass over some images."""

    def end(self, part: Part) -> None:
        """All passes over these images are through."""

    def end_batch(self, first: int, images: int) -> None:
        """All images of a batch are through: number of the first one, and how many."""

    def finish(self) -> None:
        """After the last batch of a round: the processes put together what they have."""

    def interrupted(self) -> Found | None:
        """Return what is known when an audit stops half-way; None for nothing."""
        return None
