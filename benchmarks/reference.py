"""The method as published: a loop over neurons and borders around scipy, nothing shared with us."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

Array = NDArray[np.float64]


def regions(maps: Array, channel: int) -> tuple[dict[str, Array], Array]:
    """Borders by side, and the centre, of one channel: maps (N, C, H, W)."""
    one = maps[:, channel]
    borders = {"T": one[:, 0], "B": one[:, -1], "L": one[:, :, 0], "R": one[:, :, -1]}
    return {side: values.ravel() for side, values in borders.items()}, one[:, 1:-1, 1:-1].ravel()


def statistics(border: Array, centre: Array) -> tuple[float, float, float]:
    """KS, KS+ and KS- of a border, by three calls to scipy."""
    ordered = np.sort(centre)
    k = len(border)

    def statistic(sample: Array, alternative: str) -> float:
        with np.errstate(divide="ignore"):  # of the p-value, for samples of one
            found = ks_2samp(border, sample, alternative=alternative, method="asymp")
        return float(found.statistic)

    return (
        statistic(centre, "two-sided"),
        statistic(ordered[-k:], "less"),
        statistic(ordered[:k], "greater"),
    )


def examine(
    maps: Array, channel: int, theta: float = 0.5
) -> tuple[str, dict[str, tuple[float, float, float]]]:
    """The sides on which the channel is a PAN, as letters, and its statistics by side."""
    borders, centre = regions(maps, channel)
    tables = {side: statistics(border, centre) for side, border in borders.items()}
    found = ""
    for side, (two_sided, plus, minus) in tables.items():
        # scipy's difference of two quotients can miss an exact theta by one rounding
        if min(two_sided, max(plus, minus)) >= theta - 1e-12:
            found += side
    return found, tables
