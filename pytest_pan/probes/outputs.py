"""What a model's output says, whatever its shape: scores, predictions, how far two are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_pan.records.errors import InputError

Task = Literal["classification", "multilabel", "segmentation", "embedding", "detection"]
_LOGIT_KEYS = ("logits", "out", "output", "outputs", "pred", "predictions")
_MATCH = 0.5
"""Overlap at which two boxes of one class are the same object, as usual."""

Pick = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch's outputs: ``logits`` (N, K), (N, K, H, W) in segmentation, (N, D) embeddings; or
    ``boxes``, one dict of boxes, labels and scores an image. ``each``: every class is a yes or no
    of its own (sigmoid), as in multilabel and of a single class, whose softmax would be 1 always.
    """

    task: Task
    logits: Tensor | None = None
    boxes: tuple[Mapping[str, Tensor], ...] = ()
    each: bool = False

    def __len__(self) -> int:
        return len(self.boxes) if self.logits is None else len(self.logits)

    @property
    def classes(self) -> int | None:
        """Number of classes; None where the outputs have none."""
        if self.logits is None or self.task == "embedding":
            return None
        return self.logits.shape[1]


def read(output: Any, task: str = "auto", pick: Pick | None = None) -> Reading:
    """The output of a forward pass as a Reading; ``pick`` is the user's way to what counts.

    A tensor is taken as it is; of a tuple or list the first tensor; of a dict or an object the
    ``logits`` or what is called alike. Raises :class:`InputError` for anything else, and for
    outputs that are not of the task asked for. The logits are a copy: a model may write to its
    output again.
    """
    found = pick(output) if pick is not None else _tensor_of(output)
    if isinstance(found, list | tuple) and found and all(map(_is_detection, found)):
        _check_task(task, "detection")
        return Reading("detection", boxes=tuple(found))
    if not isinstance(found, Tensor) or not found.is_floating_point():
        what = f"{found.dtype} tensor" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            "no logits in the model's output",
            got=what,
            allowed="a floating point tensor (N, K) or (N, K, H, W), a tuple or dict with one, "
            "an object with .logits, or a list of detections",
            next="Override the fixture pan_outputs with a function that picks it.",
        )
    if found.dim() not in (2, 4) or not found.numel():
        raise InputError(
            "logits",
            got=f"shape {tuple(found.shape)}",
            allowed="(N, K) or (N, K, H, W)",
            next="Override the fixture pan_outputs with a function that reshapes them.",
        )
    return _reading(task, found.detach().clone())


def _reading(task: str, logits: Tensor) -> Reading:
    if task == "embedding":
        return Reading("embedding", logits=logits.flatten(1))
    if task != "segmentation" and logits.shape[2:] == (1, 1):
        logits = logits.flatten(1)
    each = task == "multilabel" or logits.shape[1] == 1
    if logits.dim() == 4:
        _check_task("auto" if task == "multilabel" else task, "segmentation")
        return Reading("segmentation", logits=logits, each=each)
    kind: Task = "multilabel" if each else "classification"
    _check_task("auto" if each and task == "classification" else task, kind)
    return Reading(kind, logits=logits, each=each)


def _check_task(asked: str, found: Task) -> None:
    if asked not in ("auto", found):
        raise InputError(
            f"the outputs are not those of task {asked}",
            got=f"outputs of a {found} model",
            allowed=f"task auto or {found}",
            next="Or override the fixture pan_outputs with a function that picks others.",
        )


def _tensor_of(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        keys = [key for key in _LOGIT_KEYS if key in output]
        tensors = (value for value in output.values() if isinstance(value, Tensor))
        return output[keys[0]] if keys else next(tensors, None)
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, list | tuple):
        if output and _is_detection(output[0]):
            return output
        return next((item for item in output if isinstance(item, Tensor)), None)
    return output


def _is_detection(item: Any) -> bool:
    return isinstance(item, Mapping) and {"boxes", "labels", "scores"} <= set(item)


def finite(reading: Reading) -> Tensor:
    """Whether each sample's output is finite: (N,) bool."""
    if reading.logits is None:
        good = [
            all(bool(torch.isfinite(image[key]).all()) for key in ("boxes", "scores"))
            for image in reading.boxes
        ]
        return torch.tensor(good, dtype=torch.bool)
    return torch.isfinite(reading.logits).flatten(1).all(1).cpu()


def finite_in_all(readings: Mapping[str, Reading]) -> tuple[Tensor, dict[int, str]]:
    """Which samples are finite in every reading, (N,) bool, and why the others are not.

    ``readings`` by a name for people; the first in which a sample fails is told by its place.
    """
    named: dict[int, str] = {}
    keep = torch.ones(len(next(iter(readings.values()))), dtype=torch.bool)
    for name, reading in readings.items():
        good = finite(reading)
        for place in (keep & ~good).nonzero().flatten().tolist():
            named[place] = f"outputs not finite ({name})"
        keep &= good
    return keep, named


def probabilities(reading: Reading) -> Tensor | None:
    """Class probabilities of each sample, pixels averaged: (N, K) float64; None without classes."""
    if reading.classes is None or reading.logits is None:
        return None
    logits = reading.logits.double()
    shares = logits.sigmoid() if reading.each else logits.softmax(1)
    return shares.mean((2, 3)) if shares.dim() == 4 else shares


def predictions(reading: Reading) -> Tensor | None:
    """First class of each image (N,) or pixel (N, H, W); of classes that are each a yes or no,
    those said yes to (N, K), (N, K, H, W).
    """
    if reading.classes is None or reading.logits is None:
        return None
    return reading.logits > 0 if reading.each else reading.logits.argmax(1)


def flips(before: Reading, after: Reading) -> Tensor | None:
    """Predictions that differ in each sample: (N,) int; of detections, objects that come or go."""
    if before.task == "detection":
        unmatched = [_match(a, b)[1] for a, b in zip(before.boxes, after.boxes, strict=True)]
        return torch.tensor(unmatched)
    differ = _differ(before, after)
    return None if differ is None else differ.reshape(len(differ), -1).sum(1).cpu()


def _differ(before: Reading, after: Reading) -> Tensor | None:
    """Whether the prediction, any class of it, changes: (N,), or (N, H, W) in segmentation."""
    ours, theirs = predictions(before), predictions(after)
    if ours is None or theirs is None:
        return None
    return (ours != theirs).any(1) if before.each else ours != theirs


def distances(before: Reading, after: Reading) -> Tensor:
    """How far each sample's output has moved: (N,) float64.

    L1 between the logits (PAN section 4.2), averaged over pixels in segmentation; the cosine
    distance of embeddings; for detections, the sum of score differences of matched boxes and of
    the scores of boxes without a match (ours).
    """
    if before.logits is None or after.logits is None:
        moved = [_match(a, b)[0] for a, b in zip(before.boxes, after.boxes, strict=True)]
        return torch.tensor(moved, dtype=torch.float64)
    ours, theirs = before.logits.double(), after.logits.double()
    if before.task == "embedding":
        apart = (1 - torch.cosine_similarity(ours, theirs, dim=1)).clamp(min=0)
        return apart.masked_fill((ours == theirs).all(1), 0).cpu()  # also where both are zero
    gaps = (ours - theirs).abs().sum(1)
    return (gaps.mean((1, 2)) if gaps.dim() == 3 else gaps).cpu()


def _match(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[float, int]:
    """Distance between two images' detections, and confident ones (score >= 0.5) without a match.

    Boxes of one class are paired by overlap, the largest first.
    """
    from torchvision.ops import box_iou  # a second to import, for detectors only

    overlap = box_iou(before["boxes"].float(), after["boxes"].float()).cpu()
    overlap[(before["labels"][:, None] != after["labels"][None, :]).cpu()] = 0
    ours, theirs = before["scores"].double().tolist(), after["scores"].double().tolist()
    free_ours, free_theirs = set(range(len(ours))), set(range(len(theirs)))
    moved = 0.0
    for flat in overlap.flatten().argsort(descending=True, stable=True).tolist():
        a, b = divmod(flat, len(theirs))
        if float(overlap[a, b]) < _MATCH:
            break
        if a in free_ours and b in free_theirs:
            free_ours.remove(a)
            free_theirs.remove(b)
            moved += abs(ours[a] - theirs[b])
    alone = [ours[a] for a in free_ours] + [theirs[b] for b in free_theirs]
    return moved + sum(alone), sum(score >= 0.5 for score in alone)


def by_distance(before: Reading, after: Reading, rings: int = 16) -> tuple[Tensor, Tensor] | None:
    """Pixels whose class stays, and all pixels, by distance to the border: (rings,) int twice.

    Rings are equal parts of half the shorter side, the outermost first; some hold no pixel where
    that is shorter than ``rings``. Segmentation only.
    """
    differ = _differ(before, after)
    if before.task != "segmentation" or differ is None:
        return None
    height, width = differ.shape[1:]
    rows = torch.arange(height).minimum(height - 1 - torch.arange(height))
    columns = torch.arange(width).minimum(width - 1 - torch.arange(width))
    depth = rows[:, None].minimum(columns[None, :])
    half = max((min(height, width) + 1) // 2, 1)
    ring = (depth * rings // half).clamp(max=rings - 1).flatten()
    same = (~differ).sum(0).flatten().cpu()
    kept = torch.zeros(rings, dtype=torch.long).index_add(0, ring, same)
    return kept, torch.bincount(ring, minlength=rings) * len(differ)


def top5_lost(before: Reading, after: Reading) -> Tensor | None:
    """Samples whose first class is no longer among the first five: (N,) bool; classification."""
    if before.task != "classification" or before.logits is None or after.logits is None:
        return None
    first = after.logits.gather(1, before.logits.argmax(1, keepdim=True))
    return ((after.logits > first).sum(1) >= 5).cpu()  # classes level with it do not push it out


def select(reading: Reading, keep: Tensor) -> Reading:
    """The reading of some of its samples: keep (N,) bool."""
    if reading.logits is None:
        kept: Sequence[Mapping[str, Tensor]] = [
            image for image, wanted in zip(reading.boxes, keep.tolist(), strict=True) if wanted
        ]
        return replace(reading, boxes=tuple(kept))
    return replace(reading, logits=reading.logits[keep.to(reading.logits.device)])


def size(reading: Reading) -> int:
    """Count the bytes of a reading."""
    if reading.logits is not None:
        return reading.logits.nbytes
    return sum(tensor.nbytes for image in reading.boxes for tensor in image.values())


def part(reading: Reading, start: int, stop: int) -> Reading:
    """Return the reading of the samples from ``start`` to before ``stop``."""
    if reading.logits is None:
        return replace(reading, boxes=reading.boxes[start:stop])
    return replace(reading, logits=reading.logits[start:stop])


def joined(readings: Sequence[Reading]) -> Reading:
    """Return the readings of several batches as one."""
    first = readings[0]
    if first.logits is None:
        return replace(first, boxes=tuple(image for each in readings for image in each.boxes))
    logits = [each.logits for each in readings if each.logits is not None]
    return replace(first, logits=torch.cat(logits))
