"""What an audit costs, beside the bare forward pass and beside the method as published.

    python benchmarks/detection.py [network ...] [--batch 16] [--rounds 7] [--device cpu] [--scipy]

One process, one set of images, untrained weights (they compute as fast as trained ones). Each
round times in turn: the bare forward pass, the forward pass with activations gathered, the
statistics by the counting engine and by the sort that it replaces, the portraits of the PANs
found, and the comparison of the PAN-reflect, three RAND-reflect and reflect plans with the
original (six forward passes and the floor's statistics; 2.5 % of each layer's neurons stand for
PANs, since a network without training has too many). The comparison is of ``--batches`` batches, a
batch's share of its time being counted: the intervals and pictures at its end do not grow with the
images. It is held against bare passes of the same batches in between, one before each batch, as a
shared machine is faster at one time than at another. Ratios are taken round by round. With
--scipy, last and once, the published method: a Python loop over neurons and borders around scipy's
ks_2samp, on the very same activations, and how many of its labels and statistics differ from ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from agreement import agreement
from running import compared, gathered
from torch import Tensor, nn
from torchvision import models

from pytest_pan.instrument import devices as environment
from pytest_pan.instrument.gate import borrowed
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.pans import detection as pans
from pytest_pan.probes.pans.portraits import portrayed
from pytest_pan.records.audit import Settings
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.sites import Site
from pytest_pan.stats import binned

NETWORKS = ["resnet50", "mobilenet_v2", "vgg16", "densenet121"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scipy", action="store_true")
    options = parser.parse_args()
    where = environment.describe_device(environment.resolve_device(options.device))
    print(f"torch {torch.__version__}, {where}, batch {options.batch}")
    for name in options.networks:
        torch.manual_seed(0)
        network = models.get_model(name).to(options.device)
        count = options.batch * options.batches
        images = torch.randn(count, 3, options.size, options.size).to(options.device)
        measure(name, network, images.split(options.batch), options.rounds, scipy=options.scipy)


def measure(
    name: str, network: nn.Module, batches: Sequence[Tensor], rounds: int, *, scipy: bool
) -> None:
    images, count = batches[0], sum(map(len, batches))
    times: dict[str, list[float]] = defaultdict(list)
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        wait()
        started = time.perf_counter()
        result = work()
        wait()
        times[stage].append(time.perf_counter() - started)
        return result

    with borrowed(network, seed=0) as ready:
        for _ in range(rounds + 1):  # the first is a warm-up
            timed("forward", lambda: ready(images))
            states = timed("gather", lambda: gathered(ready, [(0, images)]))
            with engine(counting=False):
                timed("sort", lambda: pans.detect(states, Settings()))
            with engine(counting=True):
                detected = timed("statistics", lambda: pans.detect(states, Settings()))
                timed("portraits", lambda: list(portrayed(detected.neurons, states.by_site)))
                some = stand_ins(detected)

                def between() -> Iterator[Tensor]:
                    for batch in batches:
                        timed("bare", lambda one=batch: ready(one))
                        yield batch

                times["bare"] = []
                timed("together", lambda: compare(ready, between(), count, detected.sites, some))
                times["in between"].append(sum(times["bare"]))
                times["compare"].append(times["together"][-1] - times["in between"][-1])
    rows = {stage: values[1:] for stage, values in times.items() if stage != "bare"}
    examined = sum(site.channels for site in detected.sites)
    print(
        f"\n{name}: {len(detected.sites)} layers, {examined} neurons, {len(detected.neurons)} PANs"
    )
    for stage, values in rows.items():
        print(f"  {stage:<11} {spread(values)} s")
    gathering = [g - f for g, f in zip(rows["gather"], rows["forward"], strict=True)]
    for text, stage in (("detection adds", "statistics"), ("by sorting it would add", "sort")):
        every = zip(gathering, rows[stage], rows["forward"], strict=True)
        print(f"  {text} {spread([(g + s) / f for g, s, f in every])} of the forward pass")
    ratios = [c / (6 * b) for c, b in zip(rows["compare"], rows["in between"], strict=True)]
    print(f"  comparisons take {spread(ratios)} of their six forward passes")
    every = zip(gathering, rows["statistics"], rows["forward"], ratios, strict=True)
    whole = [((g + s) / f + 1 + 6 * c) / 7 for g, s, f, c in every]
    print(f"  detection and comparisons take {spread(whole)} of their seven forward passes")
    if scipy:
        forward = statistics.median(rows["forward"])
        detection = statistics.median(gathering) + statistics.median(rows["statistics"])
        published(states, detected.neurons, forward, detection)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


@contextmanager
def engine(*, counting: bool) -> Iterator[None]:
    """Lets the statistics be counted or sorted, whatever the number of values."""
    before = binned.WORTHWHILE, binned.worthwhile
    binned.WORTHWHILE = 0
    if not counting:
        binned.worthwhile = lambda values, like: False
    try:
        yield
    finally:
        binned.WORTHWHILE, binned.worthwhile = before


def stand_ins(detected: pans.Detected) -> list[Neuron]:
    """2.5 % of each layer's neurons, as if they were its PANs."""
    one = detected.neurons[0]
    return [
        replace(one, site=site.name, channel=channel)
        for site in detected.sites
        for channel in range(0, site.channels, 40)
    ]


def compare(
    network: nn.Module,
    batches: Iterator[Tensor],
    count: int,
    sites: list[Site],
    chosen: list[Neuron],
) -> None:
    def numbered() -> Iterator[tuple[int, Tensor]]:
        first = 0
        for images in batches:
            yield first, images
            first += len(images)

    compared(network, numbered(), sites, chosen, count)


def published(states: States, neurons: list[Neuron], forward: float, detection: float) -> None:
    """The scipy loop on the same activations, timed and compared."""
    theirs = agreement(states, neurons)
    took = theirs.seconds
    print(
        f"  the scipy loop takes {took / forward:.1f} of the forward pass ({took:.1f} s), ", end=""
    )
    print(f"{took / detection:.0f} times our detection")
    print(f"  labels that differ: {theirs.labels}; ", end="")
    print(f"largest difference of a PAN's statistic: {theirs.largest:.1e}")


if __name__ == "__main__":
    main()
