"""Uniform access to model outputs: class probabilities, predictions and distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_pan.records.errors import InputError

Task = Literal["classification", "multilabel", "segmentation", "embedding", "detection", "features"]
"""``features``: maps whose second axis is not known to be classes."""
Form = Literal["logits", "probabilities", "independent probabilities"]
"""What class scores are: logits, a distribution over classes, or one probability a class."""
_LOGIT_KEYS = ("logits", "out", "output", "outputs", "pred", "predictions")
_MATCH = 0.5
"""Overlap (IoU) at which two boxes of a class are the same object; the usual value."""

Pick = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """Outputs of a batch."""

    task: Task
    logits: Tensor | None = None
    """(N, K); (N, K, H, W) in segmentation; (N, D) for embeddings; None in detection."""
    boxes: tuple[Mapping[str, Tensor], ...] = ()
    """Detection: a dict of boxes, labels and scores per image."""
    each: bool = False
    """Whether every class is an independent binary decision (sigmoid): multilabel outputs, and a
    single class, whose softmax would always be 1."""
    form: Form = "logits"

    def __len__(self) -> int:
        return len(self.boxes) if self.logits is None else len(self.logits)

    @property
    def description(self) -> str:
        """How the outputs were read, for people."""
        if self.logits is None:
            return "detections"
        shape = "x".join(map(str, self.logits.shape[1:]))
        if self.classes is None:
            kind = "embeddings" if self.task == "embedding" else "feature maps"
            return f"{kind} of shape {shape}"
        where = " of every pixel" if self.task == "segmentation" else ""
        what = "class" if self.classes == 1 else "classes"
        return f"{self.form} of {self.classes:,} {what}{where}"

    @property
    def classes(self) -> int | None:
        """Number of classes; None for outputs without classes."""
        if self.logits is None or self.task in ("embedding", "features"):
            return None
        return self.logits.shape[1]


def read(output: Any, task: str = "auto", pick: Pick | None = None) -> Reading:
    """Convert the output of a forward pass; ``pick`` is a user function applied to it first.

    Accepts a tensor, the first tensor of a tuple or list, the ``logits`` (or a similar key) of a
    dict or object, and a list of detections. Raises :class:`InputError` for anything else, and if
    the outputs do not fit ``task``. The logits are copied: a model may overwrite its output.
    """
    found = pick(output) if pick is not None else _tensor_of(output)
    is_named = pick is not None or _has_logits(output)
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
            next="Override the fixture pan_outputs with a function that returns the logits.",
        )
    if found.dim() not in (2, 4) or not found.numel():
        raise InputError(
            "logits of an unsupported shape",
            got=f"shape {tuple(found.shape)}",
            allowed="(N, K) or (N, K, H, W)",
            next="Override the fixture pan_outputs with a function that reshapes them.",
        )
    return _reading(task, found.detach().clone(), is_named)


def _reading(task: str, logits: Tensor, is_named: bool) -> Reading:
    if task == "embedding":
        return Reading("embedding", logits=logits.flatten(1))
    if task != "segmentation" and logits.shape[2:] == (1, 1):
        logits = logits.flatten(1)
    each = task == "multilabel" or logits.shape[1] == 1
    if logits.dim() == 4 and task == "auto" and not is_named:
        return Reading("features", logits=logits)
    if logits.dim() == 4:
        _check_task("auto" if task == "multilabel" else task, "segmentation")
        return Reading("segmentation", logits=logits, each=each)
    kind: Task = "multilabel" if each else "classification"
    _check_task("auto" if each and task == "classification" else task, kind)
    return Reading(kind, logits=logits, each=each)


def _check_task(task: str, found: Task) -> None:
    if task not in ("auto", found):
        raise InputError(
            f"the outputs do not match task {task}",
            got=f"outputs of a {found} model",
            allowed=f"task auto or {found}",
            next="Change the task, or override the fixture pan_outputs to return other outputs.",
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


def _has_logits(output: Any) -> bool:
    """Return whether the output names its class scores, by a key or an attribute."""
    if isinstance(output, Mapping):
        return any(key in output for key in _LOGIT_KEYS)
    return hasattr(output, "logits")


def _is_detection(item: Any) -> bool:
    return isinstance(item, Mapping) and {"boxes", "labels", "scores"} <= set(item)


def finite(reading: Reading) -> Tensor:
    """Return whether each sample's output is finite: (N,) bool."""
    if reading.logits is None:
        good = [
            all(bool(torch.isfinite(image[key]).all()) for key in ("boxes", "scores"))
            for image in reading.boxes
        ]
        return torch.tensor(good, dtype=torch.bool)
    return torch.isfinite(reading.logits).flatten(1).all(1).cpu()


def finite_in_all(readings: Mapping[str, Reading]) -> tuple[Tensor, dict[int, str]]:
    """Return which samples are finite in every reading, (N,) bool, and a reason for each other one.

    ``readings`` are keyed by a label for users. The reasons are keyed by the sample's position in
    the batch and name the first reading in which it is not finite.
    """
    reasons: dict[int, str] = {}
    keep = torch.ones(len(next(iter(readings.values()))), dtype=torch.bool)
    for name, reading in readings.items():
        good = finite(reading)
        for place in (keep & ~good).nonzero().flatten().tolist():
            reasons[place] = f"outputs not finite ({name})"
        keep &= good
    return keep, reasons


def probabilities(reading: Reading) -> Tensor | None:
    """Return class probabilities, averaged over pixels: (N, K) float64; None without classes."""
    shares = _shares(reading)
    return shares.mean((2, 3)) if shares is not None and shares.dim() == 4 else shares


def _shares(reading: Reading) -> Tensor | None:
    """Return class probabilities (N, K) or (N, K, H, W) float64; None without classes."""
    if reading.classes is None or reading.logits is None:
        return None
    values: Tensor = reading.logits.double()
    if reading.form != "logits":
        return values
    return torch.sigmoid(values) if reading.each else torch.softmax(values, 1)


def divergences(before: Reading, after: Reading) -> Tensor | None:
    """Return the Jensen-Shannon divergence of each sample's class probabilities, in bits: (N,).

    From 0, equal, to 1, nothing in common. Averaged over pixels in segmentation; over classes that
    are independent decisions. None without classes.
    """
    pair = [_distributions(reading) for reading in (before, after)]
    if pair[0] is None or pair[1] is None:
        return None
    middle = (pair[0] + pair[1]) / 2
    entropy = [torch.special.entr(each).sum(1) for each in (middle, *pair)]
    apart: Tensor = (entropy[0] - (entropy[1] + entropy[2]) / 2) / math.log(2)
    return apart.clamp(0, 1).reshape(len(apart), -1).mean(1).cpu()


def _distributions(reading: Reading) -> Tensor | None:
    """Return probabilities that sum to 1 over the second axis; None without classes."""
    shares = _shares(reading)
    if shares is None or not reading.each:
        return shares
    return torch.stack([shares, 1 - shares], 1)


def predictions(reading: Reading) -> Tensor | None:
    """Return the top class per image (N,) or pixel (N, H, W); None without classes.

    For independent binary classes, return which are predicted: (N, K) or (N, K, H, W) bool.
    """
    if reading.classes is None or reading.logits is None:
        return None
    if not reading.each:
        return reading.logits.argmax(1)
    return reading.logits > (0 if reading.form == "logits" else 0.5)


def flips(before: Reading, after: Reading) -> Tensor | None:
    """Count changed predictions per sample: (N,) int; in detection, objects without a match.

    None without predictions.
    """
    if before.task == "detection":
        unmatched = [_match(a, b)[1] for a, b in zip(before.boxes, after.boxes, strict=True)]
        return torch.tensor(unmatched)
    differ = _differ(before, after)
    return None if differ is None else differ.reshape(len(differ), -1).sum(1).cpu()


def _differ(before: Reading, after: Reading) -> Tensor | None:
    """Return whether any class of the prediction changes: (N,), or (N, H, W) in segmentation."""
    ours, theirs = predictions(before), predictions(after)
    if ours is None or theirs is None:
        return None
    return (ours != theirs).any(1) if before.each else ours != theirs


def distances(before: Reading, after: Reading) -> Tensor:
    """Return the distance between each sample's two outputs: (N,) float64.

    L1 between the logits (PAN section 4.2), averaged over pixels in segmentation; cosine distance
    for embeddings; for detections, the score differences of matched boxes plus the scores of
    unmatched boxes (ours).
    """
    if before.logits is None or after.logits is None:
        moved = [_match(a, b)[0] for a, b in zip(before.boxes, after.boxes, strict=True)]
        return torch.tensor(moved, dtype=torch.float64)
    ours, theirs = before.logits.double(), after.logits.double()
    if before.task == "embedding":
        apart = (1 - torch.cosine_similarity(ours, theirs, dim=1)).clamp(min=0)
        is_equal = (ours == theirs).all(1)  # includes pairs of zero vectors
        return apart.masked_fill(is_equal, 0).cpu()
    gaps = (ours - theirs).abs().sum(1)
    return (gaps.mean((1, 2)) if gaps.dim() == 3 else gaps).cpu()


def _match(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[float, int]:
    """Return the distance between the detections of two images, and the number of unmatched ones.

    Boxes of the same class are matched greedily by decreasing overlap. Only unmatched boxes with a
    score of at least 0.5 are counted.
    """
    from torchvision.ops import box_iou  # takes a second to import; only detectors need it

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
    unmatched = [ours[a] for a in free_ours] + [theirs[b] for b in free_theirs]
    return moved + sum(unmatched), sum(score >= 0.5 for score in unmatched)


def by_distance(before: Reading, after: Reading, rings: int = 16) -> tuple[Tensor, Tensor] | None:
    """Count unchanged pixels and all pixels by distance to the border: (rings,) int twice.

    Rings divide half the shorter side equally, outermost first; some are empty if that is less
    than ``rings`` pixels. Segmentation only, else None.
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
    """Return which samples' top class drops out of the top five: (N,) bool.

    Classification only, else None.
    """
    if before.task != "classification" or before.logits is None or after.logits is None:
        return None
    first = after.logits.gather(1, before.logits.argmax(1, keepdim=True))
    return ((after.logits > first).sum(1) >= 5).cpu()  # ties do not push it out


def select(reading: Reading, keep: Tensor) -> Reading:
    """Return the outputs of the samples where ``keep`` (N,) is true."""
    if reading.logits is None:
        kept: Sequence[Mapping[str, Tensor]] = [
            image for image, wanted in zip(reading.boxes, keep.tolist(), strict=True) if wanted
        ]
        return replace(reading, boxes=tuple(kept))
    return replace(reading, logits=reading.logits[keep.to(reading.logits.device)])


def size(reading: Reading) -> int:
    """Return the size of the outputs in bytes."""
    if reading.logits is not None:
        return reading.logits.nbytes
    return sum(tensor.nbytes for image in reading.boxes for tensor in image.values())


def part(reading: Reading, start: int, stop: int) -> Reading:
    """Return the outputs of samples ``start`` (inclusive) to ``stop`` (exclusive)."""
    if reading.logits is None:
        return replace(reading, boxes=reading.boxes[start:stop])
    return replace(reading, logits=reading.logits[start:stop])


def joined(readings: Sequence[Reading]) -> Reading:
    """Concatenate the outputs of several batches."""
    first = readings[0]
    if first.logits is None:
        return replace(first, boxes=tuple(image for each in readings for image in each.boxes))
    logits = [each.logits for each in readings if each.logits is not None]
    return replace(first, logits=torch.cat(logits))
