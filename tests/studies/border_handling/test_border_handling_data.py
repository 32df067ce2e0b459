"""Images of the red-green test, read back from their pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from pytest_pan.studies.border_handling import data

EXTENT = {0: (3, 13), 1: (19, 29)}
"""First and last row that the boxes of a class may have in training."""


def seeded(seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed)


def extent(mask: Tensor) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the cells that are set."""
    rows, columns = mask.nonzero().T
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


@given(st.integers(0, 2**40), st.integers(0, 20), st.booleans())
@settings(max_examples=60)
def test_each_image_has_two_boxes_side_by_side_and_its_class_tells_which_is_left(
    seed: int, half: int, dissimilar: bool
) -> None:
    images, labels = data.draw(2 * half, seeded(seed), dissimilar=dissimilar)
    assert images.shape == (2 * half, 3, 32, 32)
    assert images.dtype == torch.float32
    assert int(labels.sum()) == half
    for (red, green, blue), label in zip(images, labels.tolist(), strict=True):
        assert not blue.any()
        assert red.sum() == green.sum() == 16
        assert set(torch.cat([red, green]).unique().tolist()) == {0, 1}
        first, last = EXTENT[1 - label if dissimilar else label]
        boxes = [extent(red), extent(green)]
        for top, bottom, left, right in boxes:
            assert (bottom - top, right - left) == (3, 3)
            assert first <= top <= bottom <= last
        (top, _, red_left, red_right), (other_top, _, green_left, green_right) = boxes
        assert top == other_top
        assert red_right < green_left if label == 0 else green_right < red_left


@given(st.integers(0, 2**40))
@settings(max_examples=20)
def test_the_dissimilar_test_moves_class_0_down_and_class_1_up_by_16_rows(seed: int) -> None:
    images, labels = data.draw(12, seeded(seed), dissimilar=False)
    moved, same_labels = data.draw(12, seeded(seed), dissimilar=True)
    assert torch.equal(labels, same_labels)
    for image, other, label in zip(images, moved, labels.tolist(), strict=True):
        assert torch.equal(other, image.roll(16 if label == 0 else -16, dims=1))


@pytest.fixture(scope="module")
def places() -> list[tuple[int, int, int, int]]:
    """Class, top row, and left columns of both boxes of many images."""
    images, labels = data.draw(13_000, seeded(5), dissimilar=False)
    rows = images.amax((1, 3)).argmax(1)
    columns = images[:, :2].amax(2).argmax(2).sort(dim=1).values
    return list(zip(labels.tolist(), rows.tolist(), *columns.T.tolist(), strict=True))


def test_each_place_that_the_definition_allows_is_drawn_and_no_other(
    places: list[tuple[int, int, int, int]],
) -> None:
    tops = {(0, top) for top in range(3, 11)} | {(1, top) for top in range(19, 27)}
    pairs = {(a, b) for a, b in product(range(29), repeat=2) if b - a >= 4}
    assert {place[:2] for place in places} == tops
    assert {place[2:] for place in places} == pairs


def test_rows_and_pairs_of_columns_are_uniform(places: list[tuple[int, int, int, int]]) -> None:
    for part in (slice(2), slice(2, 4)):
        counts = np.unique([place[part] for place in places], axis=0, return_counts=True)[1]
        assert stats.chisquare(counts).pvalue > 0.001


def test_another_seed_draws_other_images() -> None:
    (one, _), (other, _) = (data.draw(8, seeded(s), dissimilar=False) for s in (1, 2))
    assert not torch.equal(one, other)
