"""Counts of what each plan does to the outputs, and the figures of each plan (PAN section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pytest_pan.instrument.processes import Processes
from pytest_pan.probes import outputs
from pytest_pan.probes.influence.records import SHIFTED, Influence, Sample
from pytest_pan.probes.influence.tallies import Tally, in_order, right, right5
from pytest_pan.probes.observer import Pass
from pytest_pan.probes.outputs import Reading
from pytest_pan.records.errors import InputError
from pytest_pan.records.measures import LEAST_IMAGES, Interval
from pytest_pan.records.plans import Plan
from pytest_pan.stats import intervals, odds, subsamples


@dataclass
class Compared:
    """The outputs of some images, of the original pass and of each plan's."""

    before: Reading
    after: list[Reading]
    images: Tensor
    labels: Tensor | None


@dataclass
class Counts:
    """Counters of a comparison, updated batch by batch and mergeable across processes."""

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

    def merge(self, other: Counts) -> None:
        for mine, theirs in zip(self.tallies, other.tallies, strict=True):
            mine.merge(theirs)
        self.sums.merge(other.sums)
        for name in ("right", "right5", "images", "labelled", "objects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.task, self.notes = self.task or other.task, self.notes or other.notes
        self.skips |= other.skips


class Comparison:
    """Counts what each plan does to the outputs; :meth:`findings` at the end.

    ``skips`` names images whose outputs are not finite: they count for no plan.
    """

    def __init__(self, plans: Sequence[Plan], *, seed: int = 0, label_classes: int = 0) -> None:
        self._plans = tuple(plans)
        self._label_classes, self._seed = label_classes, seed
        self._counts = Counts([Tally(pictures=p.name.startswith("PAN")) for p in plans])

    @property
    def images(self) -> int:
        """Images counted."""
        return self._counts.images

    @property
    def task(self) -> str:
        """What the outputs are, after the first batch."""
        return self._counts.task

    @property
    def notes(self) -> tuple[str, ...]:
        return self._counts.notes

    @property
    def skips(self) -> dict[str, str]:
        """Images that count for nothing, by name, and why."""
        return {f"image {number}": why for number, why in sorted(self._counts.skips.items())}

    def keep_padding(self, plan: Plan, site: str, why: str) -> None:
        """Note a site whose padding the plan could not swap."""
        self._counts.tallies[self._plans.index(plan)].skips[site] = why

    def add(self, compared: Compared, first: int) -> None:
        """Count the outputs of some images, the first of which has number ``first``."""
        before, after, images = compared.before, compared.after, compared.images
        self._counts.task = before.task
        labels = self._labels(before, compared.labels, first)
        self._counts.objects += sum(
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

    def _count(
        self,
        before: Reading,
        after: Sequence[Reading],
        images: Tensor,
        labels: Tensor | None,
        drawn: Tensor,
        indices: list[int],
    ) -> None:
        counts = self._counts
        counts.images += len(indices)
        shares = outputs.probabilities(before)
        if shares is not None:
            counts.sums.add(shares, drawn)
        hits = right(before, labels)
        if hits is not None:
            counts.labelled += len(hits)
            counts.right += int(hits.sum())
            counts.right5 += right5(before, labels)
        for tally, reading in zip(self._counts.tallies, after, strict=True):
            tally.add(before, reading, images, labels, drawn, indices)

    def share(self, processes: Processes) -> None:
        """Put together what the processes have of it."""
        first, *others = processes.meet("comparison", self._counts)
        for other in others:
            first.merge(other)
        self._counts = first

    @property
    def has_outputs(self) -> bool:
        """Whether there was anything to compare: a detector may have detected nothing."""
        return self.task != "detection" or self._counts.objects > 0

    def _labels(self, before: Reading, labels: Tensor | None, first: int) -> Tensor | None:
        """The labels, if they are of the model's classes; an error for one outside them."""
        if labels is None or before.task != "classification" or before.classes is None:
            return labels
        if self._label_classes not in (0, before.classes):
            theirs = f"{self._label_classes} classes of the images' labels"
            self._counts.notes = (
                f"{theirs} are not the model's {before.classes}: labels not used",
            )
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
        names = [Pass(plan=plan).name for plan in self._plans]
        readings = {"original": before, **dict(zip(names, after, strict=True))}
        keep, named = outputs.finite_in_all(readings)
        self._counts.skips |= {first + place: why for place, why in named.items()}
        return keep

    def findings(self) -> tuple[Influence, ...]:
        """What each plan did, in the order of the plans."""
        pairs = zip(self._plans, self._counts.tallies, strict=True)
        return tuple(self._influence(plan, tally) for plan, tally in pairs)

    def _influence(self, plan: Plan, tally: Tally) -> Influence:
        counts = self._counts
        deciles = tuple(tally.affected.quantile(share / 10) for share in range(11))
        ratios: tuple[Tensor, ...] = ()
        if counts.sums:
            interval = odds.log_odds_interval(tally.sums, counts.sums)
            ratios = (odds.log_odds(tally.sums, counts.sums), *interval)
        middle, low, high = (tuple(r.tolist()) for r in ratios) if ratios else ((), (), ())
        known = bool(counts.labelled)
        return Influence(
            plan=plan,
            images=counts.images,
            log_odds=middle,
            log_odds_low=low,
            log_odds_high=high,
            prediction_flips=tally.flips,
            top5_flips=tally.top5,
            flips_to_right=tally.to_right if known else None,
            flips_to_wrong=tally.to_wrong if known else None,
            accuracy=tally.right / counts.labelled if known else None,
            accuracy_before=counts.right / counts.labelled if known else None,
            top5_accuracy=tally.right5 / counts.labelled if known else None,
            top5_accuracy_before=counts.right5 / counts.labelled if known else None,
            sample_influence=tally.affected.quantile(0.99),
            intervals=self._intervals(tally),
            distances=deciles,
            samples=tuple(_sample(*entry) for entry in tally.affected.most()),
            by_distance=tally.by_distance(),
            not_swappable=dict(tally.skips),
        )

    def excess_interval(self, plan: int, draws: Sequence[int]) -> Interval:
        """Interval of a plan's largest |log-odds| less the mean of the draws', by their numbers.

        The same subsamples for all of them, so that what they have in common cancels.
        """
        sums = self._counts.sums
        figures = odds.largest(self._counts.tallies[plan].sums, sums)
        others = [odds.largest(self._counts.tallies[draw].sums, sums) for draw in draws]
        means = [torch.stack(each).mean(0) for each in zip(*others, strict=True)]
        low, high = subsamples.interval(*(a - b for a, b in zip(figures, means, strict=True)))
        return float(low), float(high)

    def _intervals(self, tally: Tally) -> dict[str, tuple[float, float]]:
        """By measure, the bootstrap interval over images of what this plan does."""
        found: dict[str, tuple[float, float]] = {}
        counts, seed = self._counts, self._seed
        several = counts.images >= LEAST_IMAGES
        if counts.sums and several:
            found["log_odds_shift"] = _above_0(odds.largest(tally.sums, counts.sums))
            found["classes_shifted"] = _above_0(odds.shifted(tally.sums, counts.sums, SHIFTED))
        if tally.changes:
            low, high = intervals.of_mean(in_order(tally.changes), seed=seed, within=(0, 1))
            found["prediction_flips"] = low * counts.images, high * counts.images
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
