"""What convergence, stability and intervals add to an audit that only detects.

    python benchmarks/stability.py [network ...] [--images 160] [--rounds 5]

One process, one set of images. Each round times in turn the forward pass with activations
gathered, the statistics with the portraits, and the subsamples on top of these; the ratio of the
last to the sum of the others is taken round by round. ``mobilenet_v2`` is the trained network of
the examples on its photographs, others have weights without training (torchvision's) and smooth
random images: far more neurons are PANs there, so that more are looked at again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from running import gathered
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision import models

from pytest_pan.instrument.gate import borrowed
from pytest_pan.probes.pans import detection as pans
from pytest_pan.probes.pans import subsampling as stability
from pytest_pan.probes.pans.portraits import portrayed
from pytest_pan.records.audit import Settings

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import networks

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["mobilenet_v2", "resnet50"])
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.networks:
        measure(name, *given(name, options.images), options.rounds)


def given(name: str, count: int) -> tuple[nn.Module, Tensor]:
    if name == "mobilenet_v2":
        every = networks.photographs(*networks.IMAGENET).tensors[0]
        return networks.mobilenet_v2(), every[:: max(1, len(every) // count)][:count]
    torch.manual_seed(0)
    coarse = torch.randn(count, 3, 28, 28)
    return models.get_model(name.removeprefix("untrained_")), interpolate(coarse, 224)


def measure(name: str, network: nn.Module, images: Tensor, rounds: int) -> None:
    ratios, again = [], stability.Stability()
    looked = neurons = 0
    with borrowed(network, seed=0) as ready:
        for _ in range(rounds + 1):  # the first is a warm-up
            settings = Settings()
            batches = ((at, images[at : at + BATCH]) for at in range(0, len(images), BATCH))
            times = [time.perf_counter()]
            states = gathered(ready, batches)
            times.append(time.perf_counter())
            found = pans.detect(states, settings)
            portrayed(found.neurons, states.by_site)
            times.append(time.perf_counter())
            again = stability.examine(states, found.near, theta=settings.theta, seed=settings.seed)
            times.append(time.perf_counter())
            forward, detection, added = (b - a for a, b in pairwise(times))
            ratios.append((added / (forward + detection), detection / forward))
            looked = sum(len(each.channels) for each in found.near.values())
            neurons = sum(site.channels for site in found.sites)
    print(f"{name}: {len(images)} images, {neurons} neurons, {looked} looked at again")
    print("  PANs: " + ", ".join(f"{s.pan_count:.1f} at {s.images}" for s in again.convergence))
    for text, at in (("subsamples add to the audit", 0), ("statistics are of the forward pass", 1)):
        each = [ratio[at] for ratio in ratios[1:]]
        print(f"  {text}: {statistics.median(each):.3f} ({min(each):.3f} to {max(each):.3f})")


if __name__ == "__main__":
    main()
