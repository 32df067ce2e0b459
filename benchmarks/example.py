"""The example's figures once more, by the method as published: a scipy loop over every neuron.

    python benchmarks/example.py [mobilenet_v2] [efficientnet_lite0]

Same networks, images and activations as ``pytest --pan-audit examples``; minutes, not seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agreement import agreement
from running import gathered
from torch import Tensor, nn

from pytest_pan.instrument.gate import borrowed
from pytest_pan.probes.pans import detection as pans
from pytest_pan.records.audit import Settings
from pytest_pan.records.neurons import PAN_TYPES

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import networks


def main() -> None:
    wanted = sys.argv[1:] or ["mobilenet_v2", "efficientnet_lite0"]
    for name, norm in (
        ("mobilenet_v2", networks.IMAGENET),
        ("efficientnet_lite0", networks.HALVES),
    ):
        if name in wanted:
            compare(name, getattr(networks, name)(), networks.photographs(*norm).tensors[0])


def compare(name: str, network: nn.Module, images: Tensor) -> None:
    with borrowed(network, seed=0) as ready:
        batches = images.split(32)
        states = gathered(ready, zip(range(0, len(images), 32), batches, strict=True))
        ours = pans.detect(states, Settings())
    theirs = agreement(states, ours.neurons)
    total = sum(theirs.types.values())
    share = 100 * total / theirs.neurons
    print(f"{name}: {total} PANs of {theirs.neurons} ({share:.2f} %) by the scipy loop")
    print(
        "  " + ", ".join(f"{kind} {theirs.types[kind]}" for kind in PAN_TYPES if theirs.types[kind])
    )
    print(f"  ours: {len(ours.neurons)}; labels that differ: {theirs.labels}")
    print(f"  largest difference of a PAN's statistic: {theirs.largest:.1e}")
    print(f"  the loop took {theirs.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
