"""What does the padding do to the predictions? (PAN section 4)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pytest_pan.convergence import LEAST_IMAGES, Interval
from pytest_pan.distributed import Processes
from pytest_pan.errors import InputError
from pytest_pan.instrument.halves import Halves
from pytest_pan.plans import SHIFTED, Influence, Sample
from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import Pick, Reading
from pytest_pan.probes.swaps import Swap, run
from pytest_pan.probes.tallies import Tally, in_order, right, right5
from pytest_pan.stats import intervals, odds, subsamples

Batch = tuple[Tensor, Tensor | None]
Watch = Callable[[nn.Module, Tensor], object]


@dataclass
class _Seen:
    """The outputs of some images of a batch, without and with each plan."""

    before: Reading
    after: list[Reading]
    images: Tensor
    labels: Tensor | None


@dataclass
class _Counted:
    """What several processes have of a comparison, each of its own images; it travels."""

    tallies: list[Tally]
    sums: odds.ClassSums = field(default_factory=odds.ClassSums)
    right: int = 0
    right5: int = 0
    images: int = 0
    labelled: int = 0
    objects: int = 0
    task: str = ""
    notes: tuple[str, ...] = ()
    skips: dict[int, str] = field(default_factory=dict)

    def merge(self, other: _Counted) -> None:
        for mine, theirs in zip(self.tallies, other.tallies, strict=True):
            mine.merge(theirs)
        self.sums.merge(other.sums)
        for name in ("right", "right5", "images", "labelled", "objects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.task, self.notes = self.task or other.task, self.notes or other.notes
        self.skips |= other.skips


class Comparison:
    """All plans over each batch while it is in memory; :meth:`findings` at the end.

    ``original`` runs the model as it is, ``watch`` may run it instead for one of the plans (by
    name) to look at what happens inside; ``begin`` hears the number of the first image before the
    passes over some images, ``end`` when all of them went through. ``skips`` names samples whose
    outputs are not finite: they count for no plan.
    """

    def __init__(
        self,
        swaps: Sequence[Swap],
        *,
        task: str = "auto",
        pick: Pick | None = None,
        seed: int = 0,
        label_classes: int = 0,
        original: Watch = lambda model, images: model(images),
        watch: dict[str, Watch] | None = None,
        begin: Callable[[int], None] = lambda first: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._begin, self._end = begin, end
        self._swaps = list(swaps)
        self._label_classes = label_classes
        self._task, self._pick = task, pick
        self._original, self._watch = original, watch or {}
        self._seed = seed
        names = [swap.plan.name for swap in swaps]
        self._have = _Counted([Tally(pictures=name.startswith("PAN")) for name in names])
        self._tallies = self._have.tallies

    @property
    def images(self) -> int:
        """Images counted."""
        return self._have.images

    @property
    def task(self) -> str:
        """What the outputs are, after the first batch."""
        return self._have.task

    @property
    def notes(self) -> tuple[str, ...]:
        return self._have.notes

    @property
    def skips(self) -> dict[str, str]:
        """Images that count for nothing, by name, and why."""
        return {f"image {number}": why for number, why in sorted(self._have.skips.items())}

    def add(self, model: nn.Module, first: int, batch: Batch, halves: Halves) -> None:
        """Takes a batch: images (N, C, H, W) on the model's device, labels (N,) or None.

        ``first`` is the number of its first image. It is counted when all of it went through, also
        where that took several parts.
        """
        seen: list[_Seen] = []
        images, labels = batch

        def look(part: range) -> None:
            these = slice(part.start, part.stop)
            for swap in self._swaps:
                swap.begin(first + part.start)
            self._begin(first + part.start)
            mine = None if labels is None else labels[these]
            seen.append(self._look(model, images[these], mine))
            self._end()

        halves.run(len(images), look)
        for each in seen:
            self._take(each, first)
            first += len(each.images)

    def _look(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> _Seen:
        # the original last: its draws, if it makes any, are the only ones that the images' see
        after = [self._after(swap, model, images) for swap in self._swaps]
        before = self._read(self._original(model, images), len(images))
        return _Seen(before, after, images, labels)

    def _take(self, seen: _Seen, first: int) -> None:
        before, after, images = seen.before, seen.after, seen.images
        self._have.task = before.task
        labels = self._labels(before, seen.labels, first)
        self._have.objects += sum(
            len(image["scores"]) for reading in (before, *after) for image in reading.boxes
        )
        keep = self._finite(before, after, first)
        drawn = odds.weights(first, len(keep), self._seed)
        groups = subsamples.group_of(first, len(keep), self._seed)
        drawn = torch.cat([drawn, one_hot(groups, subsamples.GROUPS).T.to(drawn.dtype)])
        if not keep.all():
            before, after = outputs.select(before, keep), [outputs.select(r, keep) for r in after]
            images, drawn = images[keep.to(images.device)], drawn[:, keep]
            labels = None if labels is None else labels[keep]
        indices = [first + place for place in keep.nonzero().flatten().tolist()]
        if indices:
            self._count(before, after, images, labels, drawn, indices)

    def _after(self, swap: Swap, model: nn.Module, images: Tensor) -> Reading:
        """One plan's outputs; a model that draws random numbers draws the original's."""
        watch = self._watch.get(swap.plan.name)
        with torch.random.fork_rng([images.device] if images.is_cuda else []):
            output = watch(model, images) if watch else run(model, images, swap.see)
        return self._read(output, len(images))

    def _read(self, output: object, images: int) -> Reading:
        reading = outputs.read(output, self._task, self._pick)
        if len(reading) != images:
            raise InputError(
                "outputs that are not one an image",
                got=f"{len(reading)} outputs of {images} images",
                allowed="as many, in the order of the images",
                next="Override the fixture pan_outputs with a function that picks them.",
            )
        return reading

    def _count(
        self,
        before: Reading,
        after: Sequence[Reading],
        images: Tensor,
        labels: Tensor | None,
        drawn: Tensor,
        indices: list[int],
    ) -> None:
        have = self._have
        have.images += len(indices)
        shares = outputs.probabilities(before)
        if shares is not None:
            have.sums.add(shares, drawn)
        hits = right(before, labels)
        if hits is not None:
            have.labelled += len(hits)
            have.right += int(hits.sum())
            have.right5 += right5(before, labels)
        for tally, reading in zip(self._tallies, after, strict=True):
            tally.add(before, reading, images, labels, drawn, indices)

    def share(self, processes: Processes) -> None:
        """Puts together what the processes have of it."""
        for tally, swap in zip(self._tallies, self._swaps, strict=True):
            tally.skips = swap.skips
        first, *others = processes.meet("comparison", self._have)
        for other in others:
            first.merge(other)
        self._have, self._tallies = first, first.tallies

    @property
    def has_outputs(self) -> bool:
        """Whether there was anything to compare: a detector may have detected nothing."""
        return self.task != "detection" or self._have.objects > 0

    def _labels(self, before: Reading, labels: Tensor | None, first: int) -> Tensor | None:
        """The labels, if they are of the model's classes; an error for one outside them."""
        if labels is None or before.task != "classification" or before.classes is None:
            return labels
        if self._label_classes not in (0, before.classes):
            theirs = f"{self._label_classes} classes of the images' labels"
            self._have.notes = (f"{theirs} are not the model's {before.classes}: labels not used",)
            return None
        bad = ((labels < 0) | (labels >= before.classes)).nonzero().flatten()
        if len(bad):
            raise InputError(
                "label outside the classes",
                where=f"image {first + int(bad[0])}",
                got=str(int(labels[bad[0]])),
                allowed=f"0 to {before.classes - 1}",
                next="Map the data set's labels to the model's classes, or leave them out.",
            )
        return labels

    def _finite(self, before: Reading, after: Sequence[Reading], first: int) -> Tensor:
        """Samples whose outputs are finite under every plan: (N,) bool."""
        plans = (swap.plan for swap in self._swaps)
        names = [p.name if p.seed is None else f"{p.name}, seed {p.seed}" for p in plans]
        readings = {"original": before, **dict(zip(names, after, strict=True))}
        keep, named = outputs.finite_in_all(readings)
        self._have.skips |= {first + place: why for place, why in named.items()}
        return keep

    def findings(self) -> tuple[Influence, ...]:
        """What each plan did, in the order of the plans."""
        pairs = zip(self._swaps, self._tallies, strict=True)
        return tuple(self._influence(swap, tally) for swap, tally in pairs)

    def _influence(self, swap: Swap, tally: Tally) -> Influence:
        have = self._have
        deciles = tuple(tally.affected.quantile(share / 10) for share in range(11))
        ratios: tuple[Tensor, ...] = ()
        if have.sums:
            interval = odds.log_odds_interval(tally.sums, have.sums)
            ratios = (odds.log_odds(tally.sums, have.sums), *interval)
        middle, low, high = (tuple(r.tolist()) for r in ratios) if ratios else ((), (), ())
        known = bool(have.labelled)
        return Influence(
            plan=swap.plan,
            images=have.images,
            log_odds=middle,
            log_odds_low=low,
            log_odds_high=high,
            prediction_flips=tally.flips,
            top5_flips=tally.top5,
            flips_to_right=tally.to_right if known else None,
            flips_to_wrong=tally.to_wrong if known else None,
            accuracy=tally.right / have.labelled if known else None,
            accuracy_before=have.right / have.labelled if known else None,
            top5_accuracy=tally.right5 / have.labelled if known else None,
            top5_accuracy_before=have.right5 / have.labelled if known else None,
            sample_influence=tally.affected.quantile(0.99),
            intervals=self._intervals(tally),
            distances=deciles,
            samples=tuple(_sample(*entry) for entry in tally.affected.most()),
            by_distance=tally.by_distance(),
            not_swappable=tally.skips | swap.skips,
        )

    def excess_interval(self, plan: int, draws: Sequence[int]) -> Interval:
        """Interval of a plan's largest |log-odds| less the mean of the draws', by their numbers.

        The same subsamples for all of them, so that what they have in common cancels.
        """
        sums = self._have.sums
        figures = odds.largest(self._tallies[plan].sums, sums)
        others = [odds.largest(self._tallies[draw].sums, sums) for draw in draws]
        means = [torch.stack(each).mean(0) for each in zip(*others, strict=True)]
        low, high = subsamples.interval(*(a - b for a, b in zip(figures, means, strict=True)))
        return float(low), float(high)

    def _intervals(self, tally: Tally) -> dict[str, tuple[float, float]]:
        """By measure, the bootstrap interval over images of what this plan does."""
        found: dict[str, tuple[float, float]] = {}
        have, seed = self._have, self._seed
        several = have.images >= LEAST_IMAGES
        if have.sums and several:
            found["log_odds_shift"] = _above_0(odds.largest(tally.sums, have.sums))
            found["classes_shifted"] = _above_0(odds.shifted(tally.sums, have.sums, SHIFTED))
        if tally.changes:
            low, high = intervals.of_mean(in_order(tally.changes), seed=seed, within=(0, 1))
            found["prediction_flips"] = low * have.images, high * have.images
        if tally.losses:
            losses = in_order(tally.losses)
            found["accuracy_drop"] = intervals.of_mean(losses, seed=seed, within=(-1, 1))
        if tally.affected.distances and several:
            numbers = sorted(tally.affected.distances)
            groups = subsamples.group_of(0, numbers[-1] + 1, seed)[numbers]
            moved = tally.affected.in_order()
            found["sample_influence"] = intervals.trend_of_quantile(moved, groups, 0.99)
        return found


def _above_0(figures: list[Tensor]) -> Interval:
    low, high = (max(float(end), 0.0) for end in subsamples.interval(*figures))
    return low, high


def _sample(index: int, distance: float, data: object) -> Sample:
    before, after, label, picture = data if isinstance(data, tuple) else (None, None, None, "")
    return Sample(
        index=index, distance=distance, before=before, after=after, label=label, thumbnail=picture
    )
