"""Groups of images that are not independent: what they can be given as, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import paint, red, truncated
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
)

from pytest_pan import InputError
from pytest_pan.inputs.images import Images

PICTURES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = ["tree", "cat", "tree", "dog", "cat"]
NUMBERS = (0, 1, 0, 2, 1)
"""The groups of the labels, numbered in the order of their first images."""


class Photographs(Dataset[Any]):
    """Images that know their groups."""

    def __init__(self, groups: Any) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, index: int) -> Tensor:
        return PICTURES[index]


class Stream(IterableDataset[Any]):
    groups = LABELS

    def __iter__(self) -> Any:
        return iter(PICTURES)


def groups_of(source: object, groups: object = None, **settings: Any) -> tuple[int, ...] | None:
    return Images(source, groups=groups, **settings).groups


def folder(path: Path, *names: str) -> Path:
    for name in names:
        paint(path / name)
    return path


@pytest.mark.parametrize(
    "given",
    [
        LABELS,
        tuple(LABELS),
        np.array(LABELS),
        torch.tensor([7, 3, 7, -1, 3]),
        [("a", 1), ("b", 1), ("a", 1), None, ("b", 1)],
    ],
    ids=lambda given: type(given).__name__,
)
@pytest.mark.parametrize(
    "source",
    [PICTURES, TensorDataset(PICTURES), DataLoader(TensorDataset(PICTURES), batch_size=2)],
    ids=lambda source: type(source).__name__,
)
def test_images_with_equal_labels_are_a_group(source: object, given: object) -> None:
    assert groups_of(source, given, batch_size=3) == NUMBERS


def test_a_folder_takes_a_label_for_each_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    source = folder(tmp_path, "b.png", "a.png", "c.png")
    assert groups_of(source, ["x", "y", "x"]) == (0, 1, 0)


def test_without_groups_there_are_none() -> None:
    assert groups_of(PICTURES) is None
    assert Images(PICTURES).facts()["groups"] is None


def test_the_facts_tell_how_many_groups_there_are() -> None:
    assert Images(PICTURES, groups=LABELS).facts()["groups"] == 3


@pytest.mark.parametrize("labels", [LABELS, torch.tensor([7, 3, 7, -1, 3])])
def test_a_data_set_that_has_groups_gives_them_alone_and_in_a_loader(labels: object) -> None:
    assert groups_of(Photographs(labels)) == NUMBERS
    assert groups_of(DataLoader(Photographs(labels))) == NUMBERS


def test_groups_that_are_given_replace_those_of_the_data_set() -> None:
    assert groups_of(Photographs(LABELS), [1, 1, 2, 2, 2]) == (0, 0, 1, 1, 1)


def test_a_method_called_groups_is_something_else() -> None:
    assert groups_of(Photographs(lambda: LABELS)) is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^[^_]+", (0, 0, 1, 1)),  # the whole match: "cat/1", "cat/2"
        (r"/(\d)_\d", (0, 0, 1, 1)),
        (r"_(?:\d)", (0, 1, 0, 1)),
        (r"^(\w+)/(\d)", (0, 0, 0, 0)),  # the first group of two
        (r"png$", (0, 0, 0, 0)),
    ],
)
def test_a_pattern_for_the_paths_of_a_folder_labels_by_its_first_group_or_else_its_match(
    tmp_path: Path, pattern: str, expected: tuple[int, ...]
) -> None:
    """Neither sees what lies above the folder."""
    names = [f"cat/{photograph}_{crop}.png" for photograph in (1, 2) for crop in (1, 2)]
    assert groups_of(folder(tmp_path / "0_0", *names), pattern) == expected


def test_a_broken_file_that_is_left_out_keeps_its_place_among_the_labels(tmp_path: Path) -> None:
    source = folder(tmp_path, "a_1.png", "c_1.png", "d_2.png")
    truncated(source / "b_9.png")
    images = Images(source, transform=red, bad_images="skip", groups=r"_(\d)", batch_size=3)
    assert images.groups is not None
    used = [[images.groups[place] for place in images.places] for _ in images]
    assert used == [[0, 0], [2]]


def refused(source: object, groups: object = None) -> InputError:
    with pytest.raises(InputError) as info:
        groups_of(source, groups)
    return info.value


@pytest.mark.parametrize("labels", [LABELS[:4], [*LABELS, "cat"], torch.zeros(4), []])
def test_another_number_of_labels_than_images_is_refused(labels: Any) -> None:
    error = refused(PICTURES, labels)
    assert error.got == f"{len(labels)} labels for 5 images"
    assert error.allowed == "one label per image"


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (set(LABELS), "set"),
        (dict.fromkeys(LABELS), "dict"),
        (3, "int"),
        (iter(LABELS), "list_iterator"),
        ([[1], [2], [1], [3], [2]], "list"),
        (torch.zeros(5, 2), "Tensor"),
        (torch.tensor(3), "Tensor"),
    ],
    ids=["set", "dict", "int", "iterator", "lists", "matrix", "scalar"],
)
@pytest.mark.parametrize("is_attribute", [False, True])
def test_what_is_no_sequence_of_labels_is_refused(
    given: object, got: str, is_attribute: bool
) -> None:
    error = refused(Photographs(given)) if is_attribute else refused(PICTURES, given)
    assert (error.what, error.got) == ("groups of the images", got)
    assert "one label per image, or a regular expression" in error.allowed


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda: DataLoader(TensorDataset(PICTURES), shuffle=True), LABELS),
        (lambda: DataLoader(Photographs(LABELS), shuffle=True), None),
        (lambda: DataLoader(TensorDataset(PICTURES), sampler=[4, 3, 2, 1, 0]), LABELS),
        (lambda: DataLoader(TensorDataset(PICTURES), batch_sampler=[[4, 3], [2, 1, 0]]), LABELS),
        (lambda: DataLoader(Stream()), LABELS),
        (lambda: DataLoader(Stream()), None),
    ],
)
def test_labels_of_images_in_an_unknown_order_are_refused(
    make: Callable[[], object], given: object
) -> None:
    error = refused(make(), given)
    assert (error.what, error.got) == ("groups for images in an unknown order", "DataLoader")
    assert "a DataLoader that does not shuffle" in error.allowed


@pytest.mark.parametrize("source", [PICTURES, TensorDataset(PICTURES)])
def test_a_pattern_for_images_that_are_no_files_is_refused(source: object) -> None:
    error = refused(source, r"\d+")
    assert "a pattern for groups of images that are not files" in error.what
    assert "a regular expression for the file names of a folder" in error.allowed


def test_what_is_no_regular_expression_is_quoted_with_the_reason(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, "a.png"), "(a")
    assert re.match(r"'\(a': .*unterminated subpattern", error.got)
    assert error.allowed == "a regular expression"


def test_a_file_with_an_empty_label_is_named(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, "cat/1_1.png", "cat/other.png"), r"cat/(\d*)")
    assert (error.where, error.got) == ("cat/other.png", r"an empty match of 'cat/(\\d*)'")


def test_a_file_that_the_pattern_does_not_match_is_named(tmp_path: Path) -> None:
    error = refused(folder(tmp_path, "cat/1_1.png", "cat/other.png"), r"(\d+)_\d")
    assert (error.where, error.got) == ("cat/other.png", r"no match of '(\\d+)_\\d'")
    assert "match every path within the folder" in error.next


def test_a_data_set_that_has_groups_keeps_them_when_its_images_go_through_a_transform() -> None:
    assert groups_of(Photographs(LABELS), transform=lambda image: image + 1) == NUMBERS


def test_labels_of_images_in_the_order_of_a_shuffling_batch_sampler_are_refused() -> None:
    data = TensorDataset(PICTURES)
    shuffled = BatchSampler(RandomSampler(data), batch_size=2, drop_last=False)
    assert "unknown order" in refused(DataLoader(data, batch_sampler=shuffled), LABELS).what
