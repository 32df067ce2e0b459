"""How often an audit's interval on some of the images holds what all of them give.

    python benchmarks/interval_coverage.py [--crops 16] [--draws 40] [--sizes 20 40 80 160]

The trained MobileNetV2 of the examples; the pool is so many random crops of each of its twenty
photographs. The network runs over the pool once. Then, for each size, random subsets of the pool
stand for the images of an audit: its count of PANs and their interval, and with the padding of the
pool's PANs swapped the figures of the outputs and their bootstrap intervals, are held against
the same figures of the whole pool. Nothing here was used to choose the method.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from running import gathered
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pytest_pan.instrument.gate import borrowed
from pytest_pan.probes.activations.states import State, States
from pytest_pan.probes.influence.records import SHIFTED
from pytest_pan.probes.pans import detection as pans
from pytest_pan.probes.pans import subsampling as stability
from pytest_pan.probes.swaps import Swap, plans, run
from pytest_pan.records.audit import Settings
from pytest_pan.records.measures import Interval
from pytest_pan.stats import intervals, odds, subsamples

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import networks

BATCH, DRAWS = 32, 3
Figures = dict[str, tuple[float, Interval]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--sizes", type=int, nargs="*", default=[20, 40, 80, 160])
    parser.add_argument("--only-outputs", action="store_true", help="leave the counts of PANs out")
    options = parser.parse_args()
    networks.CROPS = options.crops
    images, labels = networks.photographs(*networks.IMAGENET).tensors
    with borrowed(networks.mobilenet_v2(), seed=0) as network:
        batches = ((at, images[at : at + BATCH]) for at in range(0, len(images), BATCH))
        pool = gathered(network, batches, 64 << 30)
        found = pans.detect(pool, Settings())
        logits = torch.stack(list(outputs(network, images, found)))
    counts = (lambda states: {}) if options.only_outputs else of_pans
    truth = {**counts(pool), **of_outputs(logits, labels, 0)}
    print(f"pool of {len(images)} images:")
    print("  " + ", ".join(f"{name} {value:.4g}" for name, (value, _) in truth.items()))
    for size in options.sizes:
        drawn: dict[str, list[tuple[float, Interval]]] = defaultdict(list)
        for draw in range(options.draws):
            generator = torch.Generator().manual_seed(draw)
            some = torch.randperm(len(images), generator=generator)[:size]
            part = pool if options.only_outputs else part_of(pool, some)
            audit = {**counts(part), **of_outputs(logits[:, some], labels[some], 0)}
            for name, figure in audit.items():
                drawn[name].append(figure)
        print(f"{options.draws} audits of {size} images:")
        for name, figures in drawn.items():
            # a count over the images is one of the size of the subset
            scale = size / len(images) if name.endswith("flips") else 1
            print("  " + line(name, truth[name][0] * scale, figures))


def line(name: str, truth: float, figures: list[tuple[float, Interval]]) -> str:
    held = sum(low <= truth <= high for _, (low, high) in figures)
    below = sum(high < truth for _, (_, high) in figures)
    values = torch.tensor([value for value, _ in figures])
    ends = torch.tensor([ends for _, ends in figures]).mean(0)
    return (
        f"{name:<16} {held:3} of {len(figures)} hold {truth:.4g} ({below} below it, "
        f"{len(figures) - held - below} above); mean {values.mean():.4g}, deviation "
        f"{values.std():.3g}, mean interval {ends[0]:.4g} to {ends[1]:.4g}"
    )


def part_of(pool: States, some: Tensor) -> States:
    """The states that an audit of some of the images would have."""
    states = States(64 << 30)
    states.images = len(some)
    for name, whole in pool.by_site.items():
        state = states.by_site[name] = State(whole.site, states.processes)
        maps = whole.samples.maps
        state.samples.maps = [torch.stack([maps[i // BATCH][i % BATCH] for i in some.tolist()])]
    return states


def of_pans(states: States) -> Figures:
    settings = Settings()
    found = pans.detect(states, settings)
    again = stability.examine(states, found.near, theta=settings.theta, seed=0)
    count = len(found.neurons)
    shares = [found.pans[site.name].value / site.channels for site in found.sites]
    return {
        "pan_count": (float(count), again.intervals["pan_count"]),
        "layer_pan_fraction": (max(shares), again.intervals["layer_pan_fraction"]),
    }


def outputs(network: nn.Module, images: Tensor, found: pans.Detected) -> Iterator[Tensor]:
    """Logits (N, K) of the network, with the PANs' padding swapped, and with random neurons'."""
    names = frozenset(site.name for site in found.sites)
    chosen = plans(found.sites, found.neurons, mode="reflect", draws=DRAWS, seed=0)
    swaps = [Swap(plan, names, images.device) for plan in islice(chosen, 1 + DRAWS)]
    parts = images.split(BATCH)
    yield torch.cat([network(part) for part in parts])
    for swap in swaps:
        yield torch.cat([run(network, part, swap.see) for part in parts])


def of_outputs(logits: Tensor, labels: Tensor, seed: int) -> Figures:
    """Figures of the outputs with their intervals, of logits (1 + plans, N, K)."""
    original, pan = logits[0], logits[1]
    groups = subsamples.group_of(0, len(labels), seed)
    drawn = torch.cat([odds.weights(0, len(labels), seed), one_hot(groups, 8).T.double()])
    sums = [odds.ClassSums() for _ in logits]
    for each, plan in zip(sums, logits, strict=True):
        each.add(plan.softmax(1), drawn)
    shift, *others = (odds.largest(each, sums[0]) for each in sums[1:])
    means = [torch.stack(each).mean(0) for each in zip(*others, strict=True)]
    excess = [a - b for a, b in zip(shift, means, strict=True)]
    shifted = odds.shifted(sums[1], sums[0], SHIFTED)
    flips = (original.argmax(1) != pan.argmax(1)).double()
    low, high = intervals.of_mean(flips, seed=seed)
    right = [(plan.argmax(1) == labels).double() for plan in (original, pan)]
    moved = (original - pan).abs().sum(1).double()
    return {
        "log_odds_shift": (float(shift[0]), ends(shift)),
        "log_odds_excess": (float(excess[0]), ends(excess)),
        "classes_shifted": (float(shifted[0]), ends(shifted)),
        "prediction_flips": (float(flips.sum()), (low * len(flips), high * len(flips))),
        "sample_influence": (
            odds.quantile(moved, 0.99),
            intervals.trend_of_quantile(moved, groups, 0.99),
        ),
        "accuracy_drop": (
            float((right[0] - right[1]).mean()),
            intervals.of_mean(right[0] - right[1], seed=seed),
        ),
    }


def ends(figures: list[Tensor]) -> Interval:
    low, high = subsamples.interval(*figures)
    return float(low), float(high)


if __name__ == "__main__":
    main()
