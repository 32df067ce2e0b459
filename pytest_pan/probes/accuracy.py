"""Which predictions match the labels."""

from __future__ import annotations

from torch import Tensor

from pytest_pan.probes.outputs import Reading


def correct(reading: Reading, labels: Tensor | None) -> Tensor | None:
    """Return which predictions match the labels: (N,) bool; None without labels or classes."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return None
    return reading.logits.argmax(1).cpu() == labels.cpu()


def count_top5_correct(reading: Reading, labels: Tensor | None) -> int:
    """Count the images whose label is among the top five classes; 0 without labels or classes."""
    if labels is None or reading.task != "classification" or reading.logits is None:
        return 0
    logits = reading.logits.cpu()
    ahead = logits > logits.gather(1, labels.cpu()[:, None])
    return int((ahead.sum(1) < 5).sum())
