"""How often the intervals of an audit of some images contain the figures of many.

    python benchmarks/interval_coverage.py [mobilenet_v2 | efficientnet_lite0]
        [--crops 48] [--audits 24] [--sizes 40 80 160] [--results FILE]

The trained networks of the examples. The pool is so many random crops of each of the twenty
photographs; the figures of an audit of all of them stand for the truth. Then random subsets of the
pool are audited, each with PANs and random neurons of its own. ``--results`` keeps a line of JSON
for each audit, and a second run goes on after those that are there. Nothing here was used to
choose the method.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from pytest_pan import Audit, PanWarning, audit
from pytest_pan.probes import table

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import networks

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[list[float], list[float]]]] = {
    "mobilenet_v2": (networks.mobilenet_v2, networks.IMAGENET),
    "efficientnet_lite0": (networks.efficientnet_lite0, networks.HALVES),
}
DRAWS_OF_POOL = 10
"""Random draws of the pool's audit: its excess and ratio are the truth, whatever was drawn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", nargs="?", choices=NETWORKS, default="mobilenet_v2")
    parser.add_argument("--crops", type=int, default=48)
    parser.add_argument("--audits", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="*", default=[40, 80, 160])
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    make, norm = NETWORKS[options.network]
    networks.CROPS = options.crops
    images = networks.photographs(*norm)
    run = Audits(make(), images, options.results)
    truth = run.of(0, len(images), DRAWS_OF_POOL)
    print(f"{options.network}, pool of {len(images)} images", flush=True)
    for size in options.sizes:
        audits = [run.of(number, size) for number in range(options.audits)]
        print(f"\n{options.audits} audits of {size} images\n", flush=True)
        print("| measure | figure of the pool | held | below | above | mean interval |")
        print("|---|---|---|---|---|---|")
        for name in truth:
            print(row(name, truth, audits, size / len(images)), flush=True)


class Audits:
    """Audits of random subsets, kept in a file."""

    def __init__(self, network: nn.Module, images: TensorDataset, results: Path | None) -> None:
        self._network, self._images, self._results = network, images, results
        lines = results.read_text().splitlines() if results and results.is_file() else []
        self._known = {(entry["number"], entry["size"]): entry for entry in map(json.loads, lines)}

    def of(self, number: int, size: int, draws: int = 3) -> dict[str, Any]:
        """Return the value and the interval of each sampled measure of the audit of a subset."""
        if (number, size) not in self._known:
            generator = torch.Generator().manual_seed(number)
            some = torch.randperm(len(self._images), generator=generator)[:size].tolist()
            with warnings.catch_warnings(action="ignore", category=PanWarning):
                found = audit(
                    self._network,
                    Subset(self._images, some),
                    probes=("influence",),
                    draws=draws,
                    seed=number,
                )
            entry = {"number": number, "size": size, "figures": figures(found)}
            self._known[number, size] = entry
            if self._results:
                with self._results.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        found_figures: dict[str, Any] = self._known[number, size]["figures"]
        return found_figures


def figures(found: Audit) -> dict[str, Any]:
    """Return value, interval and the classes' values and intervals of each sampled measure."""
    return {
        name: {
            "value": measured.value,
            "interval": measured.interval,
            "classes": {
                each: (value, measured.intervals[each])
                for each, value in measured.classes.items()
                if each in measured.intervals
                and measured.support.get(each, 0) >= found.settings.support
            },
        }
        for name, measured in found.measures.items()
        if table.find(name).is_sampled
    }


def row(
    name: str, truth: dict[str, Any], audits: list[dict[str, Any]], share_of_pool: float
) -> str:
    """Return a line of the table; a number of images is one among those of the subset."""
    scale = share_of_pool if table.find(name).is_image_count else 1.0
    value, found = truth[name]["value"] * scale, [each[name] for each in audits if name in each]
    ends = [each["interval"] for each in found if each["interval"]]
    text = table.find(name).text
    if not ends:
        return f"| `{name}` | {text(value)} | no interval | | | |"
    held = sum(low <= value <= high for low, high in ends)
    below, above = sum(high < value for _, high in ends), sum(low > value for low, _ in ends)
    low, high = (sum(each) / len(ends) for each in zip(*ends, strict=True))
    line = f"| `{name}` | {text(value)} | {held} of {len(ends)} | {below} | {above} | "
    line += f"{text(low)} to {text(high)} |"
    known, of_pool = [each["classes"] for each in found], truth[name]["classes"]
    hits = [
        low <= of_pool[one][0] <= high
        for classes in known
        for one, (_, (low, high)) in classes.items()
        if one in of_pool
    ]
    if hits:
        line += f"\n| of single classes | | {sum(hits)} of {len(hits)} | | | |"
    return line


if __name__ == "__main__":
    main()
