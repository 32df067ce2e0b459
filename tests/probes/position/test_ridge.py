"""Ridge regression from sums against least squares on augmented rows, and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_pan.probes.position.ridge import PENALTIES, Normal, fit, solve

CELLS = 50


def data(images: int = 8) -> tuple[Tensor, Tensor]:
    """Features (images, 3, cells) of different sizes and offsets, and targets (2, cells)."""
    rng = np.random.default_rng(0)
    features = rng.normal(3, [[1], [5], [0.2]], (images, 3, CELLS))
    targets = rng.normal(size=(2, CELLS)) + features.mean(0)[:1]
    return torch.tensor(features), torch.tensor(targets)


def by_hand(features: Tensor, targets: Tensor, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (3, 2) and intercept (2,) by numpy's least squares on augmented rows."""
    x = features.transpose(1, 2).flatten(0, 1).numpy()
    y = targets.T.repeat(len(features), 1).numpy()
    z = (x - x.mean(0)) / x.std(0)
    rows = np.vstack([z, np.sqrt(len(x) * penalty) * np.eye(3)])
    wanted = np.vstack([y - y.mean(0), np.zeros((3, 2))])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0] / x.std(0)[:, None]
    return weights, y.mean(0) - x.mean(0) @ weights


@pytest.mark.parametrize("penalty", [1e-5, 0.1, 10.0])
def test_ridge_from_sums_is_least_squares_on_rows_augmented_by_the_penalty(penalty: float) -> None:
    features, targets = data()
    normal = Normal(targets)
    for image in features:
        normal.add(image, 0)
    (sums,) = normal.folds
    variance = sums.products.diagonal() / sums.count - (sums.features / sums.count).square()
    weights, intercept = solve(sums, variance.rsqrt(), penalty)
    predicted = weights.T @ normal.scaled(features) + intercept[:, None]
    theirs, offset = by_hand(features, targets, penalty)
    expected = torch.tensor(theirs).T @ features + torch.tensor(offset)[:, None]
    torch.testing.assert_close(predicted, expected, rtol=1e-6, atol=1e-6)


def test_the_penalty_of_each_target_is_that_of_the_smallest_error_on_images_left_out() -> None:
    features, targets = data()
    targets[1] = torch.tensor(np.random.default_rng(1).normal(size=CELLS))  # nothing to be read
    normal = Normal(targets)
    for place, image in enumerate(features):
        normal.add(image, place % 4)
    errors = np.zeros((len(PENALTIES), 2))
    for fold in range(4):
        inside = torch.arange(len(features)) % 4 == fold
        for row, penalty in enumerate(PENALTIES):
            weights, offset = by_hand(features[~inside], targets, penalty)
            found = torch.tensor(weights).T @ features[inside] + torch.tensor(offset)[:, None]
            errors[row] += (found - targets).square().sum((0, 2)).numpy()
    best = tuple(PENALTIES[row] for row in errors.argmin(0))
    assert fit(normal.folds).penalties == best
    assert best[0] != best[1]


def test_a_feature_that_does_not_vary_is_not_used() -> None:
    features, targets = data()
    features[:, 2] = 7
    normal = Normal(targets)
    for image in features:
        normal.add(image, 0)
    assert fit(normal.folds).weights[2].tolist() == [0, 0]
