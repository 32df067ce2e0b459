"""Larger images from what users have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pytest_pan.inputs.larger import MOST, LargeImages
from pytest_pan.records.errors import InputError

IMAGES = torch.rand(5, 2, 9, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "given",
    [
        IMAGES,
        TensorDataset(IMAGES, torch.arange(5)),
        DataLoader(TensorDataset(IMAGES), batch_size=2),
        list(IMAGES),
    ],
    ids=["tensor", "Dataset", "DataLoader", "list"],
)
def test_each_source_gives_the_same_images_twice(given: object) -> None:
    larger = LargeImages(given, seed=0)
    for _ in range(2):
        torch.testing.assert_close(torch.cat(list(larger)), IMAGES)


def test_sizes_may_differ_in_a_dataset() -> None:
    images = [torch.rand(1, side, side + 1) for side in (5, 8)]
    found: list[Tensor] = list(LargeImages(images, seed=0))
    assert [tuple(each.shape) for each in found] == [(1, 1, 5, 6), (1, 1, 8, 9)]


def test_repeated_images_keep_their_place() -> None:
    twice = torch.cat([IMAGES[:1], IMAGES])
    assert len(torch.cat(list(LargeImages(twice, seed=0)))) == 6


def test_no_more_than_most_are_read() -> None:
    class Many:
        def __len__(self) -> int:
            return 10_000

        def __getitem__(self, index: int) -> Tensor:
            if index >= MOST:
                raise AssertionError(f"image {index} was read")
            return torch.full((1, 2, 2), float(index))

    assert len(torch.cat(list(LargeImages(Many(), seed=0)))) == MOST


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ("a/folder", "str"),
        (Path("a"), "PosixPath"),
        (IMAGES[0], r"a tensor of shape \(2, 9, 7\)"),
        (IMAGES[:0], "no image"),
        ([], "no image"),
        (3, "int"),
    ],
)
def test_what_cannot_be_larger_images_is_refused(given: object, got: str) -> None:
    with pytest.raises(InputError, match=f"got {got}"):
        LargeImages(given, seed=0)


def test_pictures_that_are_not_normalised_are_refused() -> None:
    with pytest.raises(InputError, match=r"large_images.*PIL images.*Normalise them"):
        list(LargeImages([(Image.new("RGB", (4, 4)), 0)], seed=0))


def test_images_of_whole_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="floating point"):
        list(LargeImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), seed=0))
