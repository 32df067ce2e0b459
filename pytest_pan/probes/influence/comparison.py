"""Comparison of each plan's outputs to the original outputs (PAN section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_pan.instrument.processes import Processes
from pytest_pan.probes import outputs
from pytest_pan.probes.accuracy import correct, count_top5_correct
from pytest_pan.probes.influence.records import Influence, Sample
from pytest_pan.probes.influence.tallies import Tally, in_order
from pytest_pan.probes.observer import Pass
from pytest_pan.probes.outputs import Reading
from pytest_pan.records.errors import InputError
from pytest_pan.records.measures import Interval
from pytest_pan.records.plans import Plan
from pytest_pan.stats import controls, intervals, odds, subsamples


@dataclass
class Compared:
    """Outputs of some images, from the original pass and from each plan."""

    before: Reading
    after: list[Reading]
    images: Tensor
    labels: Tensor | None
    units: Tensor
    """Number of the unit of sampling that each image belongs to: (N,) int."""


@dataclass
class Counts:
    """Counters of a comparison, updated batch by batch and mergeable across processes."""

    tallies: list[Tally]
    sums: odds.ClassSums = field(default_factory=odds.ClassSums)
    units: dict[int, int] = field(default_factory=dict)
    """Unit of sampling of each image, by its index."""
    correct: int = 0
    top5_correct: int = 0
    images: int = 0
    labelled: int = 0
    objects: int = 0
    task: str = ""
    outputs: str = ""
    """How the outputs were read."""
    notes: tuple[str, ...] = ()
    skips: dict[int, str] = field(default_factory=dict)

    def merge(self, other: Counts) -> None:
        for mine, theirs in zip(self.tallies, other.tallies, strict=True):
            mine.merge(theirs)
        self.sums.merge(other.sums)
        self.units |= other.units
        for name in ("correct", "top5_correct", "images", "labelled", "objects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outputs = self.outputs or other.outputs
        self.task, self.notes = self.task or other.task, self.notes or other.notes
        self.skips |= other.skips


class Comparison:
    """Counts the effects of each plan on the outputs; :meth:`findings` summarises them.

    Images without finite outputs under every plan are listed in ``skips`` and count for no plan.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        seed: int = 0,
        support: float = 1.0,
        label_classes: int = 0,
    ) -> None:
        self._plans = tuple(plans)
        self._label_classes, self._seed = label_classes, seed
        self.least_support = support
        """Support from which on a class counts for figures over classes."""
        self._counts = Counts([Tally(pictures=p.name.startswith("PAN")) for p in plans])

    @property
    def images(self) -> int:
        """Number of images counted."""
        return self._counts.images

    @property
    def independent(self) -> int:
        """Number of units of sampling among the images counted."""
        return len(set(self._counts.units.values()))

    @property
    def task(self) -> str:
        """Task of the outputs, known after the first batch."""
        return self._counts.task

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the labels."""
        return self._counts.notes

    @property
    def skips(self) -> dict[str, str]:
        """Images that were left out, with the reason."""
        return {f"image {number}": why for number, why in sorted(self._counts.skips.items())}

    def keep_padding(self, plan: Plan, site: str, why: str) -> None:
        """Record a site whose padding the plan could not swap."""
        self._counts.tallies[self._plans.index(plan)].skips[site] = why

    def add(self, compared: Compared, first: int) -> None:
        """Count the outputs of some images, the first of which has index ``first``."""
        before, after, images = compared.before, compared.after, compared.images
        self._counts.task = before.task
        self._counts.outputs = before.description
        labels = self._labels(before, compared.labels, first)
        self._counts.objects += sum(
            len(image["scores"]) for reading in (before, *after) for image in reading.boxes
        )
        keep = self._finite(before, after, first)
        units = compared.units[keep]
        if not keep.all():
            before, after = outputs.select(before, keep), [outputs.select(r, keep) for r in after]
            images = images[keep.to(images.device)]
            labels = None if labels is None else labels[keep]
        indices = [first + place for place in keep.nonzero().flatten().tolist()]
        if indices:
            self._counts.units |= zip(indices, units.tolist(), strict=True)
            groups = subsamples.group_of(units, self._seed)
            self._count(before, after, images, labels, groups, indices)

    def _count(
        self,
        before: Reading,
        after: Sequence[Reading],
        images: Tensor,
        labels: Tensor | None,
        groups: Tensor,
        indices: list[int],
    ) -> None:
        counts = self._counts
        counts.images += len(indices)
        shares = outputs.probabilities(before)
        if shares is not None:
            counts.sums.add(shares, groups)
        hits = correct(before, labels)
        if hits is not None:
            counts.labelled += len(hits)
            counts.correct += int(hits.sum())
            counts.top5_correct += count_top5_correct(before, labels)
        for tally, reading in zip(self._counts.tallies, after, strict=True):
            tally.add(before, reading, images, labels, groups, indices)

    def share(self, processes: Processes) -> None:
        """Merge the counts of all processes."""
        first, *others = processes.meet("comparison", self._counts)
        for other in others:
            first.merge(other)
        self._counts = first

    @property
    def has_outputs(self) -> bool:
        """Whether there is anything to compare: a detector may have found no object."""
        return self.task != "detection" or self._counts.objects > 0

    def _labels(self, before: Reading, labels: Tensor | None, first: int) -> Tensor | None:
        """Return the labels if they match the model's classes; raise InputError if out of range."""
        if labels is None or before.task != "classification" or before.classes is None:
            return labels
        if self._label_classes not in (0, before.classes):
            self._counts.notes = (
                f"labels ignored: they have {self._label_classes} classes, the model has "
                f"{before.classes}",
            )
            return None
        bad = ((labels < 0) | (labels >= before.classes)).nonzero().flatten()
        if len(bad):
            raise InputError(
                "label outside the classes",
                where=f"image {first + int(bad[0])}",
                got=str(int(labels[bad[0]])),
                allowed=f"0 to {before.classes - 1}",
                next="Map the data set's labels to the model's classes, or omit them.",
            )
        return labels

    def _finite(self, before: Reading, after: Sequence[Reading], first: int) -> Tensor:
        """Return which samples have finite outputs under every plan: (N,) bool."""
        names = [Pass(plan=plan).name for plan in self._plans]
        readings = {"original": before, **dict(zip(names, after, strict=True))}
        keep, reasons = outputs.finite_in_all(readings)
        self._counts.skips |= {first + place: why for place, why in reasons.items()}
        return keep

    def findings(self) -> tuple[Influence, ...]:
        """Return the effect of each plan, in the order of the plans."""
        pairs = zip(self._plans, self._counts.tallies, strict=True)
        return tuple(self._influence(plan, tally) for plan, tally in pairs)

    def _influence(self, plan: Plan, tally: Tally) -> Influence:
        counts = self._counts
        deciles = tuple(tally.affected.quantile(share / 10) for share in range(11))
        found = self._odds(tally)
        ratios = () if found is None else (found.values, *found.intervals)
        middle, low, high = (tuple(r.tolist()) for r in ratios) if ratios else ((), (), ())
        known = bool(counts.labelled)
        apart = in_order(tally.divergences)
        return Influence(
            plan=plan,
            images=counts.images,
            outputs=counts.outputs,
            log_odds=middle,
            log_odds_low=low,
            log_odds_high=high,
            mean_log_odds_shift=None if found is None else float(found.mean().whole),
            divergence=float(apart.mean()) if len(apart) else None,
            divergence_99=odds.quantile(apart, 0.99) if len(apart) else None,
            prediction_flips=tally.flips,
            top5_flips=tally.top5,
            flips_to_right=tally.to_right if known else None,
            flips_to_wrong=tally.to_wrong if known else None,
            accuracy=tally.correct / counts.labelled if known else None,
            accuracy_before=counts.correct / counts.labelled if known else None,
            top5_accuracy=tally.top5_correct / counts.labelled if known else None,
            top5_accuracy_before=counts.top5_correct / counts.labelled if known else None,
            sample_influence=tally.affected.quantile(0.99),
            intervals=self._intervals(tally, found),
            distances=deciles,
            samples=tuple(_sample(*entry) for entry in tally.affected.most()),
            by_distance=tally.by_distance(),
            not_swappable=dict(tally.skips),
        )

    @property
    def support(self) -> tuple[float, ...]:
        """Support of each class: its summed probability on all images; empty without classes."""
        return tuple(self._counts.sums.total.tolist()) if self._counts.sums else ()

    def excess_interval(self, plan: int, draws: Sequence[int]) -> Interval:
        """Return the interval of a plan's largest |log-odds| minus the mean over the draws.

        ``plan`` and ``draws`` are positions of plans. All use the same subsamples, so that common
        variation cancels.
        """
        pans, *others = (each.largest(self.least_support) for each in self._all_odds(plan, *draws))
        return controls.excess(pans, others)

    def ratio_interval(self, plan: int, draws: Sequence[int]) -> Interval:
        """Return the interval of a plan's mean |log-odds| divided by the mean over the draws."""
        pans, *others = (each.mean() for each in self._all_odds(plan, *draws))
        return controls.ratio(pans, others)

    def _all_odds(self, *plans: int) -> list[odds.Odds]:
        tallies = self._counts.tallies
        return [odds.Odds(tallies[plan].sums, self._counts.sums) for plan in plans]

    def _odds(self, tally: Tally) -> odds.Odds | None:
        sums = self._counts.sums
        return odds.Odds(tally.sums, sums) if sums else None

    def _intervals(self, tally: Tally, found: odds.Odds | None) -> dict[str, Interval]:
        """Return the intervals over images of this plan's figures, by measure."""
        ends: dict[str, Interval] = {}
        if found is not None:
            ends |= self._of_largest(found)
            low, high = (float(end) for end in subsamples.interval(found.mean(), power=0.5))
            ends["mean_log_odds_shift"] = max(low, 0.0), high
        if tally.divergences:
            low, high = intervals.of_mean(*self._with_units(tally.divergences))
            ends["prediction_divergence"] = low, min(high, 1.0)
        if tally.changes:
            values, units = self._with_units(tally.changes)
            of_changes = intervals.of_share if values.max() <= 1 else intervals.of_mean
            low, high = of_changes(values, units)
            ends["prediction_flips"] = low * len(values), high * len(values)
        if tally.losses:
            ends["accuracy_drop"] = intervals.of_difference(*self._with_units(tally.losses))
        if tally.affected.distances:
            moved, units = self._with_units(tally.affected.distances)
            of_moved = intervals.of_quantile(moved, units, 0.99)
            ends |= {"sample_influence": of_moved} if of_moved else {}
        return ends

    def _of_largest(self, found: odds.Odds) -> dict[str, Interval]:
        """Return the interval of the largest |log-odds| of a supported class, if there is one.

        If each class lies in its interval, the largest lies between the largest ends.
        """
        low, high = (end[self._counts.sums.total >= self.least_support] for end in found.intervals)
        known = ~low.isnan()
        if not known.any():
            return {}
        low, high = low[known], high[known]
        nearest = torch.maximum(low, -high).clamp(min=0).max()
        return {"log_odds_shift": (float(nearest), float(torch.maximum(-low, high).max()))}

    def _with_units(self, values: dict[int, float]) -> tuple[Tensor, Tensor]:
        """Return values in the order of the images, and the units of these: (N,) twice."""
        return in_order(values), torch.tensor([self._counts.units[i] for i in sorted(values)])


def _sample(index: int, distance: float, data: object) -> Sample:
    before, after, label, picture = data if isinstance(data, tuple) else (None, None, None, "")
    return Sample(
        index=index, distance=distance, before=before, after=after, label=label, thumbnail=picture
    )
