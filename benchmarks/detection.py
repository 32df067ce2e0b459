"""What detection costs, beside the bare forward pass and beside the method as published.

    python benchmarks/detection.py [network ...] [--batch 16] [--rounds 5] [--device cpu]
                                   [--no-scipy]

One process, one set of images, untrained weights (they compute as fast as trained ones). Each
round times in turn: the bare forward pass, the forward pass with activations gathered, the
statistics, and the portraits of the PANs found. Printed are medians, with the smallest and the
largest, and what they add to the forward pass. Last, once, the published method: a Python loop
over neurons and borders around scipy's ks_2samp, on the very same activations, and how many of
its labels and statistics differ from ours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from agreement import agreement
from torch import Tensor, nn
from torchvision import models

from pytest_pan import environment
from pytest_pan.instrument.gate import borrowed
from pytest_pan.probes import pans
from pytest_pan.probes.portraits import portrayed
from pytest_pan.probes.states import States
from pytest_pan.records import Neuron, Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["resnet50"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-scipy", action="store_true")
    options = parser.parse_args()
    where = environment.describe_device(environment.resolve_device(options.device))
    print(f"torch {torch.__version__}, {where}, batch {options.batch}")
    for name in options.networks:
        torch.manual_seed(0)
        network = models.get_model(name).to(options.device)
        images = torch.randn(options.batch, 3, options.size, options.size).to(options.device)
        measure(name, network, images, options.rounds, scipy=not options.no_scipy)


def measure(name: str, network: nn.Module, images: Tensor, rounds: int, *, scipy: bool) -> None:
    times: dict[str, list[float]] = {"forward": [], "gather": [], "statistics": [], "portraits": []}
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
            states = States(16 << 30)
            timed("forward", lambda: ready(images))
            timed("gather", lambda: pans.gather(ready, [(0, images)], states))
            detected = timed("statistics", lambda: pans.detect(states, Settings()))
            timed("portraits", lambda: list(portrayed(detected.neurons, states.by_site)))
    medians = {stage: statistics.median(values[1:]) for stage, values in times.items()}
    forward = medians["forward"]
    examined = sum(site.channels for site in detected.sites)
    print(
        f"\n{name}: {len(detected.sites)} layers, {examined} neurons, {len(detected.neurons)} PANs"
    )
    for stage, values in times.items():
        low, high = min(values[1:]), max(values[1:])
        print(f"  {stage:<11} {medians[stage]:7.3f} s  ({low:.3f} to {high:.3f})")
    gathering = statistics.median(
        g - f for g, f in zip(times["gather"][1:], times["forward"][1:], strict=True)
    )
    detection = gathering + medians["statistics"]
    print(f"  detection adds {detection / forward:.2f} of the forward pass")
    print(f"  portraits add  {medians['portraits'] / forward:.2f}")
    if scipy:
        published(states, detected.neurons, forward, detection)


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
