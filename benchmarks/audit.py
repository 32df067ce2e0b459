"""Whole audits, as users run them, relative to the bare forward passes over the same images.

    python benchmarks/audit.py [mobilenet_v2] [efficientnet_lite0] [resnet50] [--images 160]
        [--rounds 5] [--batch 32] [--probes pans influence intrusion all]

Trained networks of the examples on their photographs; ResNet-50 without training on the same. Each
round measures the bare passes, then each audit with its HTML report, with bare passes between them;
a ratio is to the mean of the passes right before and after. Each audit adds the probes before it.
Medians of the rounds, with the smallest and the largest. Memory is what the process held at most
during the audit beyond what it held before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
import warnings
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision import models

from pytest_pan import Audit, PanWarning, audit
from pytest_pan.report import html

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import networks

SETS = {
    "pans": (),
    "influence": ("influence",),
    "intrusion": ("influence", "intrusion"),
    "all": ("all",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["mobilenet_v2", "efficientnet_lite0"])
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--probes", nargs="*", choices=SETS, default=list(SETS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", PanWarning)
    for name in options.networks:
        norm = networks.HALVES if name == "efficientnet_lite0" else networks.IMAGENET
        images, labels = networks.photographs(*norm).tensors
        chosen = torch.linspace(0, len(images) - 1, min(options.images, len(images))).long()
        data = TensorDataset(images[chosen], labels[chosen])
        measure(name, network(name), data, options.rounds, options.batch, options.probes)


def network(name: str) -> nn.Module:
    if hasattr(networks, name):
        found: nn.Module = getattr(networks, name)()
        return found
    torch.manual_seed(0)
    return models.get_model(name)


def measure(
    name: str, net: nn.Module, data: TensorDataset, rounds: int, batch: int, wanted: list[str]
) -> None:
    images = data.tensors[0]
    ratios: dict[str, list[float]] = defaultdict(list)
    stages: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    memory: dict[str, int] = {}
    for _ in range(rounds):
        before = bare(net, images, batch)
        for probes in wanted:
            found, seconds, held = one(net, data, SETS[probes], batch)
            after = bare(net, images, batch)
            passes = (before + after) / 2
            ratios[probes].append(seconds / passes)
            for stage, spent in found.seconds.items():
                stages[probes][stage].append(spent / passes)
            memory[probes] = max(memory.get(probes, 0), held)
            before = after
    print(
        f"\n{name}, {len(images)} images, batch {batch}, {rounds} rounds, passes: {before:.1f} s\n"
    )
    print("| probes | whole audit and report | by stage | memory |\n|---|---|---|---|")
    for probes in wanted:
        low, middle, high = spread(ratios[probes])
        parts = ", ".join(f"{k} {statistics.median(v):.2f}" for k, v in stages[probes].items())
        print(
            f"| {probes} | **{middle:.2f}** ({low:.2f} to {high:.2f}) | {parts} | "
            f"{memory[probes] / 1e6:,.0f} MB |",
            flush=True,
        )


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def bare(net: nn.Module, images: Tensor, batch: int) -> float:
    """Return the seconds of the forward passes alone."""
    net.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        for part in images.split(batch):
            net(part)
    return time.perf_counter() - started


def one(
    net: nn.Module, data: TensorDataset, probes: tuple[str, ...], batch: int
) -> tuple[Audit, float, int]:
    """Return an audit, the seconds it took with its report, and the bytes that it held."""
    peak = Peak()
    started = time.perf_counter()
    with peak:
        found = audit(net, data, probes=probes, batch_size=batch)
        html.render([found])
    return found, time.perf_counter() - started, peak.held


class Peak:
    """Watches the memory of the process."""

    def __enter__(self) -> None:
        self._start = self.held = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.held -= self._start

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.held = max(self.held, resident())


def resident() -> int:
    """Return the bytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
