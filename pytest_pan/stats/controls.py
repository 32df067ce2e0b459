"""Comparison of a figure of the PANs to the same figure of random neurons (ours).

The intervals cover what other images would change, and how far one random draw is from another:
had the PANs been a draw themselves, the interval of the excess would hold 0, and that of the ratio
1, in 95 of 100 cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy import special
from torch import Tensor

from pytest_pan.stats import subsamples
from pytest_pan.stats.intervals import Interval
from pytest_pan.stats.subsamples import Figures

LEAST_DRAWS = 2
"""Fewest draws that show how much they vary."""
_LEAST = 1e-12


def excess(pans: Figures, draws: Sequence[Figures]) -> Interval:
    """Return the 95 % interval of the PANs' figure minus the mean of the draws."""
    middle = pans.combined(_mean(draws), lambda a, b: a - b)
    return _widened(middle, torch.stack([draw.whole for draw in draws]))


def ratio(pans: Figures, draws: Sequence[Figures]) -> Interval:
    """Return the 95 % interval of the PANs' figure divided by the mean of the draws.

    Computed on logarithms; all figures are at least 0.
    """
    logs = pans.combined(_mean(draws), lambda a, b: _log(a) - _log(b))
    low, high = _widened(logs, _log(torch.stack([draw.whole for draw in draws])))
    return math.exp(max(low, -700.0)), math.exp(min(high, 700.0))


def _mean(draws: Sequence[Figures]) -> Figures:
    return Figures(
        *(
            torch.stack([getattr(draw, part) for draw in draws]).mean(0)
            for part in ("whole", "halves", "quarters")
        )
    )


def _widened(figures: Figures, draws: Tensor) -> Interval:
    """Return the interval over images, wider by the spread of the draws (D,).

    The latter is the prediction interval of one more draw: Student's quantile times their
    deviation times sqrt(1 + 1/D). Both add up as independent errors do.
    """
    count, value = len(draws), float(figures.whole)
    quantile = float(special.stdtrit(count - 1, 0.975))
    spread = quantile * float(draws.std()) * math.sqrt(1 + 1 / count)
    low, high = (float(end) for end in subsamples.interval(figures))
    return value - math.hypot(value - low, spread), value + math.hypot(high - value, spread)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST).log()
