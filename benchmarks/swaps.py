"""What a forward pass costs with the padding of some neurons swapped, beside the plain one.

    python benchmarks/swaps.py [network ...] [--share 0.025] [--batch 16] [--rounds 7]

One process; each round times the plain forward pass and one pass a plan, in turn, and the ratio
is taken round by round. Channels are drawn at random, as many in each layer as the share says.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn
from torchvision import models

from pytest_pan.instrument.gate import borrowed
from pytest_pan.instrument.sites import why_not
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.probes.swaps import Swap, run
from pytest_pan.records.plans import Plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--share", type=float, default=0.025)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.batch}")
    for name in options.networks:
        torch.manual_seed(0)
        measure(name, models.get_model(name), options.share, options.batch, options.rounds)


def measure(name: str, network: nn.Module, share: float, batch: int, rounds: int) -> None:
    images = torch.randn(batch, 3, 224, 224)
    channels: dict[str, int] = {}

    def see(call: ConvCall) -> None:
        if not why_not(call.kernel, call.pad, call.map):
            channels[call.name] = call.weight.shape[0]

    with borrowed(network, seed=0) as ready:
        with tapped(Tap(network, see)) as tap:
            tap.begin(len(images))
            ready(images)
        chosen = {
            site: tuple(torch.randperm(count)[: max(1, round(share * count))].tolist())
            for site, count in channels.items()
        }
        plans = (Plan(name="PAN-reflect", channels=chosen), Plan(name="reflect"))
        swaps = [Swap(plan, frozenset(channels), torch.device("cpu")) for plan in plans]
        plain, ratios = [], {plan.name: [] for plan in plans}
        for at in range(rounds + 1):
            started = time.perf_counter()
            ready(images)
            plain.append(time.perf_counter() - started)
            for swap in swaps:
                started = time.perf_counter()
                run(ready, images, swap.see)
                took = time.perf_counter() - started
                if at:  # the first round warms up
                    ratios[swap.plan.name].append(took / plain[-1])
    swapped, neurons = sum(map(len, chosen.values())), sum(channels.values())
    print(f"{name}: {swapped} of {neurons} neurons, plain {statistics.median(plain[1:]):.3f} s")
    for plan, found in ratios.items():
        low, high = min(found), max(found)
        print(f"  {plan:<12} {statistics.median(found):.2f} of it ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
