"""What a model's output says, whatever its shape: scores, predictions, how far two are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_pan.errors import InputError

Task = Literal["classification", "multilabel", "segmentation", "embedding", "detection"]
TASKS: tuple[str, ...] = (
    "auto",
    "classification",
    "multilabel",
    "segmentation",
    "embedding",
    "detection",
)
_LOGIT_KEYS = ("logits", "out", "output", "outputs", "pred", "predictions")
_MATCH = 0.5
"""Overlap at which two boxes of one class are the same object, as usual."""

Pick = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch's outputs: ``logits`` (N, K), (N, K, H, W) in segmentation, (N, D) embeddings; or
    ``boxes``, one dict of boxes, labels and scores an image.
    """

    task: Task
    logits: Tensor | None = None
    boxes: tuple[Mapping[str, Tensor], ...] = ()

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
    ``logits`` or what is called alike. Raises :class:`InputError` for anything else.
    """
    found = pick(output) if pick is not None else _tensor_of(output)
    if isinstance(found, list | tuple) and found and _is_detection(found[0]):
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
    if found.dim() not in (2, 4):
        raise InputError(
            "logits", got=f"shape {tuple(found.shape)}", allowed="(N, K) or (N, K, H, W)"
        )
    return Reading(_task(task, found), logits=found.detach())


def _task(task: str, logits: Tensor) -> Task:
    if logits.dim() == 4:
        return "segmentation"
    if task in ("multilabel", "embedding"):
        return "multilabel" if task == "multilabel" else "embedding"
    # one score a sample is a yes or no: its softmax would be 1 whatever it says
    return "multilabel" if logits.shape[1] == 1 else "classification"


def _tensor_of(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        keys = [key for key in _LOGIT_KEYS if key in output]
        return output[keys[0]] if keys else next(iter(output.values()), None)
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
        good = [bool(torch.isfinite(image["scores"]).all()) for image in reading.boxes]
        return torch.tensor(good, dtype=torch.bool)
    return torch.isfinite(reading.logits).flatten(1).all(1).cpu()


def probabilities(reading: Reading) -> Tensor | None:
    """Class probabilities of each sample, pixels averaged: (N, K) float64; None without classes."""
    if reading.classes is None or reading.logits is None:
        return None
    logits = reading.logits.double()
    if reading.task == "multilabel":
        return logits.sigmoid()
    shares = logits.softmax(1)
    return shares.mean((2, 3)) if shares.dim() == 4 else shares


def predictions(reading: Reading) -> Tensor | None:
    """First class of each image (N,) or pixel (N, H, W), or classes said yes to (N, K)."""
    if reading.classes is None or reading.logits is None:
        return None
    return reading.logits > 0 if reading.task == "multilabel" else reading.logits.argmax(1)


def flips(before: Reading, after: Reading) -> Tensor | None:
    """Predictions that differ in each sample: (N,) int; of detections, objects that come or go."""
    if before.task == "detection":
        unmatched = [_match(a, b)[1] for a, b in zip(before.boxes, after.boxes, strict=True)]
        return torch.tensor(unmatched)
    ours, theirs = predictions(before), predictions(after)
    if ours is None or theirs is None:
        return None
    differ = (ours != theirs).flatten(1) if ours.dim() > 1 else (ours != theirs)[:, None]
    if before.task == "multilabel":
        differ = differ.any(1, keepdim=True)
    return differ.sum(1).cpu()


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
        return 1 - torch.cosine_similarity(ours, theirs, dim=1).cpu()
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
    for flat in overlap.flatten().argsort(descending=True).tolist():
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

    Rings are equal parts of half the shorter side, the outermost first; segmentation only.
    """
    ours, theirs = predictions(before), predictions(after)
    if before.task != "segmentation" or ours is None or theirs is None:
        return None
    height, width = ours.shape[1:]
    rows = torch.arange(height).minimum(height - 1 - torch.arange(height))
    columns = torch.arange(width).minimum(width - 1 - torch.arange(width))
    depth = rows[:, None].minimum(columns[None, :])
    half = max((min(height, width) + 1) // 2, 1)
    ring = (depth * rings // half).clamp(max=rings - 1).flatten()
    same = (ours == theirs).sum(0).flatten().cpu()
    kept = torch.zeros(rings, dtype=torch.long).index_add(0, ring, same)
    return kept, torch.bincount(ring, minlength=rings) * len(ours)


def top5_lost(before: Reading, after: Reading) -> Tensor | None:
    """Samples whose first class is no longer among the first five: (N,) bool; classification."""
    if before.task != "classification" or before.logits is None or after.logits is None:
        return None
    five = after.logits.topk(min(5, after.logits.shape[1]), dim=1).indices
    return ~(five == before.logits.argmax(1)[:, None]).any(1).cpu()


def select(reading: Reading, keep: Tensor) -> Reading:
    """The reading of some of its samples: keep (N,) bool."""
    if reading.logits is None:
        kept: Sequence[Mapping[str, Tensor]] = [
            image for image, wanted in zip(reading.boxes, keep.tolist(), strict=True) if wanted
        ]
        return Reading(reading.task, boxes=tuple(kept))
    return Reading(reading.task, logits=reading.logits[keep.to(reading.logits.device)])
