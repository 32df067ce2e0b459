"""Single probes on a network and batches, without the rest of an audit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from pytest_pan.engine.passes import Round
from pytest_pan.instrument.processes import ALONE
from pytest_pan.probes import table
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.influence.observer import InfluenceObserver
from pytest_pan.probes.observer import Context, Observer, Pass
from pytest_pan.probes.original import OriginalOutputs
from pytest_pan.probes.pans.observer import PansObserver
from pytest_pan.probes.pans.records import PansFindings
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.sites import Site

Numbered = Iterable[tuple[int, Tensor]]
"""Batches of images, each with the number of its first image."""


def context_of(network: nn.Module, settings: Settings, expected: int | None = None) -> Context:
    """What the observers of an audit of this network have in common."""
    return Context(
        model=network,
        settings=settings,
        device=next(network.parameters()).device,
        processes=ALONE,
        expected=expected,
        activations=States(settings.memory, expected=expected),
        original=OriginalOutputs(settings.memory, settings.task, None),
    )


def gathered(network: nn.Module, batches: Numbered, memory: int = 16 << 30) -> States:
    """The activations of the original pass, without statistics."""
    context = context_of(network, Settings(probes=table.selected(()), memory=memory))
    observer = PansObserver(context)
    _round(network, observer, observer.passes(_known([], [])), context.device, batches)
    return context.activations


def compared(
    network: nn.Module,
    batches: Numbered,
    sites: Sequence[Site],
    neurons: Sequence[Neuron],
    expected: int,
) -> None:
    """The probe ``influence`` where the original pass has to run again: its passes and figures."""
    context = context_of(network, Settings(memory=32 << 30), expected)
    context.original.drop()
    observer, known = InfluenceObserver(context), _known(sites, neurons)
    passes = observer.passes(known) or ()
    names = [site.name for site in sites]
    _round(network, observer, passes, context.device, batches, names)
    observer.findings(known)


def _known(sites: Sequence[Site], neurons: Sequence[Neuron]) -> Audit:
    return Audit(
        model={},
        images={},
        environment={},
        settings=Settings(),
        sites=tuple(sites),
        neurons=tuple(neurons),
        measures={},
        skips=(),
        findings={"pans": PansFindings()},
    )


def _round(
    network: nn.Module,
    observer: Observer,
    passes: Sequence[Pass],
    device: torch.device,
    batches: Numbered,
    sites: Sequence[str] = (),
) -> None:
    this = Round(network, {"one": (observer, passes)}, device=device, sites=sites)
    this.run((first, (images, None)) for first, images in batches)
