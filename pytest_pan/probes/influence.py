"""What does the padding do to the predictions? (PAN section 4)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pytest_pan.errors import InputError
from pytest_pan.plans import SHIFTED, Influence, Sample
from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import Pick, Reading
from pytest_pan.probes.swaps import Swap, run
from pytest_pan.probes.thumbnails import thumbnail
from pytest_pan.stats import intervals, odds

Batch = tuple[Tensor, Tensor | None]
Watch = Callable[[nn.Module, Tensor], object]


@dataclass
class _Effect:
    """What gathers about one plan while the batches go by."""

    swap: Swap
    sums: odds.ClassSums = field(default_factory=odds.ClassSums)
    affected: odds.Affected = field(default_factory=odds.Affected)
    changes: list[Tensor] = field(default_factory=list)
    """Predictions that change, by image: (N,) a batch."""
    losses: list[Tensor] = field(default_factory=list)
    """1 for an image that the plan spoils, -1 for one that it corrects: (N,) a batch."""
    flips: int | None = None
    top5: int | None = None
    right: int = 0
    right5: int = 0
    to_right: int = 0
    to_wrong: int = 0
    rings: tuple[Tensor, Tensor] | None = None


class Comparison:
    """All plans over each batch while it is in memory; :meth:`findings` at the end.

    ``original`` runs the model as it is, ``watch`` may run it instead for one of the plans (by
    name) to look at what happens inside. ``skips`` names samples whose outputs are not finite:
    they count for no plan.
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
    ) -> None:
        self.skips: dict[str, str] = {}
        self.images = 0
        self.labelled = 0
        self.task = ""
        self.notes: tuple[str, ...] = ()
        self._label_classes = label_classes
        self._objects = 0
        self._task, self._pick = task, pick
        self._original, self._watch = original, watch or {}
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._effects = [_Effect(swap) for swap in swaps]
        self._sums = odds.ClassSums()
        self._right = self._right5 = 0
        self._seen = 0

    def add(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> None:
        """Takes one batch, images (N, C, H, W) on the model's device, labels (N,) or None."""
        # the original last: its draws, if it makes any, are the only ones that the images' see
        after = [self._after(effect, model, images) for effect in self._effects]
        before = self._read(self._original(model, images), len(images))
        self.task = before.task
        labels = self._labels(before, labels)
        self._objects += sum(len(image["scores"]) for r in (before, *after) for image in r.boxes)
        keep = self._finite(before, after)
        drawn = odds.weights(len(keep), self._generator)
        if not keep.all():
            before, after = outputs.select(before, keep), [outputs.select(r, keep) for r in after]
            images, drawn = images[keep.to(images.device)], drawn[:, keep]
            labels = None if labels is None else labels[keep]
        indices = (self._seen + keep.nonzero().flatten()).tolist()
        self._seen += len(keep)
        if indices:
            self._count(before, after, images, labels, drawn, indices)

    def _after(self, effect: _Effect, model: nn.Module, images: Tensor) -> Reading:
        """One plan's outputs; a model that draws random numbers draws the original's."""
        watch = self._watch.get(effect.swap.plan.name)
        with torch.random.fork_rng([images.device] if images.is_cuda else []):
            output = watch(model, images) if watch else run(model, images, effect.swap.see)
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
        self.images += len(indices)
        shares = outputs.probabilities(before)
        if shares is not None:
            self._sums.add(shares, drawn)
        right = _right(before, labels)
        if right is not None:
            self.labelled += len(right)
            self._right += int(right.sum())
            self._right5 += _right5(before, labels)
        for effect, reading in zip(self._effects, after, strict=True):
            shares = outputs.probabilities(reading)
            if shares is not None:
                effect.sums.add(shares, drawn)
            _add_flips(effect, before, reading)
            _add_right(effect, right, _right(reading, labels))
            effect.right5 += _right5(reading, labels)
            _add_samples(effect, before, reading, images, labels, indices)

    @property
    def has_outputs(self) -> bool:
        """Whether there was anything to compare: a detector may have detected nothing."""
        return self.task != "detection" or self._objects > 0

    def _labels(self, before: Reading, labels: Tensor | None) -> Tensor | None:
        """The labels, if they are of the model's classes; an error for one outside them."""
        if labels is None or before.task != "classification" or before.classes is None:
            return labels
        if self._label_classes not in (0, before.classes):
            theirs = f"{self._label_classes} classes of the images' labels"
            self.notes = (f"{theirs} are not the model's {before.classes}: labels not used",)
            return None
        bad = ((labels < 0) | (labels >= before.classes)).nonzero().flatten()
        if len(bad):
            raise InputError(
                "label outside the classes",
                where=f"image {self._seen + int(bad[0])}",
                got=str(int(labels[bad[0]])),
                allowed=f"0 to {before.classes - 1}",
                next="Map the data set's labels to the model's classes, or leave them out.",
            )
        return labels

    def _finite(self, before: Reading, after: Sequence[Reading]) -> Tensor:
        """Samples whose outputs are finite under every plan: (N,) bool."""
        plans = (effect.swap.plan for effect in self._effects)
        names = [p.name if p.seed is None else f"{p.name}, seed {p.seed}" for p in plans]
        readings = {"original": before, **dict(zip(names, after, strict=True))}
        keep, named = outputs.finite_in_all(readings, self._seen)
        self.skips |= named
        return keep

    def findings(self) -> tuple[Influence, ...]:
        """What each plan did, in the order of the plans."""
        return tuple(self._influence(effect) for effect in self._effects)

    def _influence(self, effect: _Effect) -> Influence:
        deciles = tuple(effect.affected.quantile(share / 10) for share in range(11))
        ratios: tuple[Tensor, ...] = ()
        if len(self._sums.total):
            interval = odds.log_odds_interval(effect.sums, self._sums)
            ratios = (odds.log_odds(effect.sums, self._sums), *interval)
        middle, low, high = (tuple(r.tolist()) for r in ratios) if ratios else ((), (), ())
        known = bool(self.labelled)
        return Influence(
            plan=effect.swap.plan,
            images=self.images,
            log_odds=middle,
            log_odds_low=low,
            log_odds_high=high,
            prediction_flips=effect.flips,
            top5_flips=effect.top5,
            flips_to_right=effect.to_right if known else None,
            flips_to_wrong=effect.to_wrong if known else None,
            accuracy=effect.right / self.labelled if known else None,
            accuracy_before=self._right / self.labelled if known else None,
            top5_accuracy=effect.right5 / self.labelled if known else None,
            top5_accuracy_before=self._right5 / self.labelled if known else None,
            sample_influence=effect.affected.quantile(0.99),
            intervals=self._intervals(effect),
            distances=deciles,
            samples=tuple(_sample(*entry) for entry in effect.affected.most()),
            by_distance=_shares(effect.rings),
            not_swappable=dict(effect.swap.skips),
        )

    def _intervals(self, effect: _Effect) -> dict[str, tuple[float, float]]:
        """By measure, the bootstrap interval over images of what this plan does."""
        found: dict[str, tuple[float, float]] = {}
        if len(self._sums.total):
            found["classes_shifted"] = odds.shifted_interval(effect.sums, self._sums, SHIFTED)
        if effect.changes:
            low, high = intervals.of_mean(torch.cat(effect.changes), seed=self._seed)
            found["prediction_flips"] = low * self.images, high * self.images
        if effect.losses:
            found["accuracy_drop"] = intervals.of_mean(torch.cat(effect.losses), seed=self._seed)
        if effect.affected.distances:
            moved = torch.tensor(effect.affected.distances, dtype=torch.float64)
            found["sample_influence"] = intervals.of_quantile(moved, 0.99, seed=self._seed)
        return found


def _right(reading: Reading, labels: Tensor | None) -> Tensor | None:
    """Which images are right: (N,) bool; None without labels or classes to compare."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return None
    return reading.logits.argmax(1).cpu() == labels.cpu()


def _right5(reading: Reading, labels: Tensor | None) -> int:
    """Images whose label is among the five likeliest classes; 0 without labels to compare."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return 0
    logits = reading.logits.cpu()
    ahead = logits > logits.gather(1, labels.cpu()[:, None])
    return int((ahead.sum(1) < 5).sum())


def _add_flips(effect: _Effect, before: Reading, after: Reading) -> None:
    changed = outputs.flips(before, after)
    if changed is not None:
        effect.flips = (effect.flips or 0) + int(changed.sum())
        effect.changes.append(changed)
    lost = outputs.top5_lost(before, after)
    if lost is not None:
        effect.top5 = (effect.top5 or 0) + int(lost.sum())
    rings = outputs.by_distance(before, after)
    if rings is not None:
        earlier = effect.rings or tuple(torch.zeros_like(part) for part in rings)
        effect.rings = (earlier[0] + rings[0], earlier[1] + rings[1])


def _add_right(effect: _Effect, before: Tensor | None, after: Tensor | None) -> None:
    if before is None or after is None:
        return
    effect.losses.append(before.int() - after.int())
    effect.right += int(after.sum())
    effect.to_right += int((after & ~before).sum())
    effect.to_wrong += int((before & ~after).sum())


def _add_samples(
    effect: _Effect,
    before: Reading,
    after: Reading,
    images: Tensor,
    labels: Tensor | None,
    indices: Sequence[int],
) -> None:
    moved = outputs.distances(before, after).tolist()
    single = before.task == "classification"
    ours = outputs.predictions(before) if single else None
    theirs = outputs.predictions(after) if single else None
    for place, (index, distance) in enumerate(zip(indices, moved, strict=True)):
        data: object = None
        if effect.affected.would_keep(index, distance):
            data = (
                None if ours is None else int(ours[place]),
                None if theirs is None else int(theirs[place]),
                None if labels is None or labels.dim() != 1 else int(labels[place]),
                thumbnail(images[place]) if effect.swap.plan.name.startswith("PAN") else "",
            )
        effect.affected.add(index, distance, data)


def _sample(index: int, distance: float, data: object) -> Sample:
    before, after, label, picture = data if isinstance(data, tuple) else (None, None, None, "")
    return Sample(
        index=index, distance=distance, before=before, after=after, label=label, thumbnail=picture
    )


def _shares(rings: tuple[Tensor, Tensor] | None) -> tuple[float, ...]:
    if rings is None:
        return ()
    kept, pixels = rings
    there = pixels > 0
    return tuple((kept[there].double() / pixels[there]).tolist())


def compare(
    model: nn.Module, batches: Iterable[Batch], comparison: Comparison, tick: Callable[[int], None]
) -> None:
    """Feeds the batches to a comparison; what is raised leaves what it has counted whole."""
    for images, labels in batches:
        comparison.add(model, images, labels)
        tick(comparison.images)
