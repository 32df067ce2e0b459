"""How the statistics grow with images, channels and map size, and what memory they take.

    python benchmarks/growth.py [--network mobilenet_v2] [--most 64] [--memory 4]

Images: audits (detection only) of 16 to 16 x ``--most`` synthetic images, a process each, since
memory is the peak of a process. Channels and maps: one layer of random activations of one image
batch of 16, per value, by the counting engine and by the sort. Maps beyond ``--memory`` GiB are
counted between edges.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from pytest_pan.stats import binned, ks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--most", type=int, default=64)
    parser.add_argument("--memory", type=float, default=4)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"\n{options.network}, detection, images beyond {options.memory:g} GiB counted")
    print("| images | forward, s | statistics, s | adds | above the model and a batch, MB |")
    print("|---|---|---|---|---|")
    times = 1
    while times <= options.most:
        print(row(options.network, 16 * times, options.memory), flush=True)
        times *= 4
    print("\nns a value, one layer, batch 16: counted, sorted")
    for channels in (32, 128, 512):
        print(f"  {channels} channels of 28x28: {cost(channels, 28)}")
    for size in (7, 14, 28, 56, 112):
        print(f"  64 channels of {size}x{size}: {cost(64, size)}")


def row(network: str, images: int, memory: float) -> str:
    """One audit in a process of its own."""
    script = Path(__file__).with_name("memory.py")
    command = [sys.executable, str(script), network, str(images), "--memory", str(memory)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603
    seconds = found["seconds"]
    adds = (seconds["forward"] + seconds["pans"]) / found["bare"] - 1
    return (
        f"| {images}{' (counted)' if found['bounded'] else ''} | {found['bare']:.1f} | "
        f"{seconds['pans']:.2f} | {adds:.2f} | {found['above'] / 1e6:.0f} |"
    )


def cost(channels: int, size: int) -> str:
    maps = [torch.randn(16, channels, size, size)]
    return f"{per_value(counted, maps):.1f}, {per_value(by_sorting, maps):.1f}"


def counted(maps: list[torch.Tensor]) -> None:
    binned.binned_statistics(maps)


def by_sorting(maps: list[torch.Tensor]) -> None:
    (one,) = maps
    rows = [one[:, :, 0], one[:, :, -1], one[:, :, :, 0], one[:, :, :, -1], one[:, :, 1:-1, 1:-1]]
    *borders, centre = [part.transpose(0, 1).reshape(one.shape[1], -1) for part in rows]
    ks.border_statistics(borders, centre)


def per_value(work, maps: list[torch.Tensor]) -> float:  # type: ignore[no-untyped-def]
    took = []
    for _ in range(6):
        started = time.perf_counter()
        work(maps)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:]) / maps[0].numel() * 1e9


if __name__ == "__main__":
    main()
