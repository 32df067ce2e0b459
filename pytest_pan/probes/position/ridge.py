"""Linear read-out in closed form: ridge regression from sums that add up over batches.

PosENet trains its read-out by stochastic gradient descent; the optimum of a linear one has a closed
form (Hoerl and Kennard 1970), without learning rate and epochs, and without a variance of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 4

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties to choose from, per cell and for features of deviation 1."""

_CONSTANT = 1e-12
"""Variance, relative to the mean square, up to which it is rounding."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over cells of the features F (D, cells) and the targets T (T, cells), float64."""

    count: float
    features: Tensor
    """(D,)."""
    products: Tensor
    """F F^T: (D, D)."""
    targets: Tensor
    """(T,)."""
    target_squares: Tensor
    """(T,)."""
    mixed: Tensor
    """F T^T: (D, T)."""

    def plus(self, other: Sums, sign: int = 1) -> Sums:
        """Return the sum of both, or with ``sign`` -1 the difference."""
        return Sums(
            self.count + sign * other.count,
            self.features + sign * other.features,
            self.products + sign * other.products,
            self.targets + sign * other.targets,
            self.target_squares + sign * other.target_squares,
            self.mixed + sign * other.mixed,
        )

    def part(self, chosen: slice) -> Sums:
        """Return the sums of some features."""
        return Sums(
            self.count,
            self.features[chosen],
            self.products[chosen, chosen],
            self.targets,
            self.target_squares,
            self.mixed[chosen],
        )


class Normal:
    """Normal equations of each fold of the training images, updated batch by batch.

    Features are first shifted and scaled by the moments of the first image, so that the sums lose
    no digits to a large mean. The products within an image have the features' precision; the sums
    over images are float64.
    """

    def __init__(self, targets: Tensor) -> None:
        """``targets``: (T, cells)."""
        self._targets = targets
        self._folds: dict[int, Sums] = {}
        self._moments: tuple[Tensor, Tensor] | None = None

    @property
    def folds(self) -> list[Sums]:
        """Sums of the folds that have images."""
        return list(self._folds.values())

    def add(self, image: Tensor, fold: int) -> None:
        """Add an image's features: (D, cells)."""
        features = self.scaled(image)
        exact, targets = features.double(), self._targets.to(features.device)
        mine = Sums(
            float(features.shape[1]),
            exact.sum(1),
            (features @ features.T).double(),
            targets.sum(1),
            targets.square().sum(1),
            exact @ targets.T,
        )
        known = self._folds.get(fold)
        self._folds[fold] = mine if known is None else known.plus(mine)

    def scaled(self, features: Tensor) -> Tensor:
        """Return features (..., D, cells) as they enter the sums."""
        if self._moments is None:
            deviation = features.std(-1, keepdim=True)
            scale = torch.where(deviation > 0, deviation, 1.0)
            self._moments = features.mean(-1, keepdim=True), scale
        shift, scale = self._moments
        return (features - shift) / scale


@dataclass(frozen=True, slots=True)
class Ridge:
    """Read-out of features as :meth:`Normal.scaled` gives them: (D, T) and (T,), float64."""

    weights: Tensor
    intercept: Tensor
    penalties: tuple[float, ...]
    """Penalty of each target."""

    def __call__(self, features: Tensor) -> Tensor:
        """Return the predictions: features (N, D, cells) -> (N, T, cells) float64."""
        found: Tensor = self.weights.T @ features.double()
        return found + self.intercept[:, None]


def fit(folds: Sequence[Sums]) -> Ridge:
    """Return the ridge regression, with the penalty of each target by cross-validation over folds.

    Features are standardised on all training images; the intercept is not penalised.
    """
    total = folds[0]
    for each in folds[1:]:
        total = total.plus(each)
    square = total.products.diagonal() / total.count
    variance = square - (total.features / total.count).square()
    scale = torch.where(variance > _CONSTANT * square, variance.rsqrt(), 0.0)
    errors = torch.zeros(len(PENALTIES), len(total.targets), dtype=torch.float64)
    for fold in folds if len(folds) > 1 else ():
        rest = total.plus(fold, -1)
        for place, penalty in enumerate(PENALTIES):
            error = _error(solve(rest, scale, penalty), fold).cpu()
            errors[place] += error.nan_to_num(torch.inf, torch.inf)
    penalties = [PENALTIES[place] for place in errors.argmin(0).tolist()]
    solved = {penalty: solve(total, scale, penalty) for penalty in set(penalties)}
    chosen = [(solved[penalty], place) for place, penalty in enumerate(penalties)]
    return Ridge(
        torch.stack([weights[:, place] for (weights, _), place in chosen], 1),
        torch.stack([intercept[place] for (_, intercept), place in chosen]),
        tuple(penalties),
    )


def solve(sums: Sums, scale: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weights (D, T) and intercept (T,) for features multiplied by ``scale`` (D,)."""
    count = sums.count
    mean, target = sums.features / count, sums.targets / count
    products = (sums.products / count - torch.outer(mean, mean)) * scale * scale[:, None]
    mixed = (sums.mixed / count - torch.outer(mean, target)) * scale[:, None]
    products.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(products)
    if failed:  # by rounding, with a small penalty: NaN
        factor = factor.fill_(torch.nan)
    weights = torch.cholesky_solve(mixed, factor) * scale[:, None]
    return weights, target - mean @ weights


def _error(solution: tuple[Tensor, Tensor], sums: Sums) -> Tensor:
    """Return the sum of the squared errors of each target: (T,)."""
    weights, intercept = solution
    square = (weights * (sums.products @ weights)).sum(0)
    cross = (weights * sums.mixed).sum(0)
    linear = intercept * (weights.T @ sums.features - sums.targets)
    constant = sums.count * intercept.square() + sums.target_squares
    return square - 2 * cross + 2 * linear + constant
