"""One audit of synthetic images, and the most memory that it took; JSON on the standard output.

    python benchmarks/memory.py resnet50 10000 [--memory 1] [--batch 16] [--influence]

Images are drawn when they are asked for, so a data set takes no memory; weights are untrained. The
peak is the process's own (resident), above what it was after one bare forward pass of a batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import models

from pytest_pan.engine.pipeline import run
from pytest_pan.records.audit import Settings


class Drawn(Dataset[Tensor]):
    """Smooth random images, each by its index."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        coarse = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(index))
        return torch.nn.functional.interpolate(coarse, size=224, mode="bilinear")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("images", type=int)
    parser.add_argument("--memory", type=float, default=1, help="GiB of whole maps")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--influence", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = models.get_model(options.network).eval()
    data = Drawn(options.images)
    batch = torch.stack([data[index] for index in range(min(options.batch, options.images))])
    with torch.no_grad():
        network(batch)
        started = time.perf_counter()
        network(batch)
        bare = (time.perf_counter() - started) / len(batch) * options.images
    before = peak()
    probes = ("pans", "influence") if options.influence else ("pans",)
    settings = Settings(
        probes=probes, batch_size=options.batch, memory=int(options.memory * 2**30), device="cpu"
    )
    audit = run(network, data, settings=settings, tick=progress)
    count = audit.measures["pan_count"]
    found = {
        "network": options.network,
        "images": options.images,
        "bare": bare,
        "seconds": dict(audit.seconds),
        "above": peak() - before,
        "bounded": count.bounds is not None,
        "pans": count.value,
        "bounds": count.bounds,
        "error": max((neuron.error for neuron in audit.neurons), default=0.0),
        "notes": list(audit.notes),
    }
    print(json.dumps(found, indent=2))


def progress(done: int, expected: int | None) -> None:
    if done % 512 == 0:
        print(f"{done} of {expected}, peak {peak() / 1e6:.0f} MB", file=sys.stderr, flush=True)


def peak() -> int:
    """Bytes: the most that has been resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
