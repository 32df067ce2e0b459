"""The same image again counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pytest_pan.inputs.images import Images

Share = Callable[[list[Images]], Images]

DIFFERENT = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.arange(40)
FOUR_TIMES = DIFFERENT.repeat(4, 1, 1, 1)
SHUFFLED = torch.randperm(160, generator=torch.Generator().manual_seed(1))


def read(images: Images) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """All images, and of each batch its number, its first image and its length."""
    batches = [(batch, images.batch, images.first) for batch, _ in images]
    return torch.cat([batch for batch, *_ in batches]), [(n, f, len(b)) for b, n, f in batches]


@pytest.mark.parametrize(
    "source",
    [
        FOUR_TIMES,
        TensorDataset(FOUR_TIMES),
        DataLoader(TensorDataset(FOUR_TIMES), batch_size=16),
        DataLoader(TensorDataset(FOUR_TIMES), batch_size=7, num_workers=1),
    ],
    ids=["tensor", "data set", "loader", "worker"],
)
def test_images_that_came_before_are_left_out_and_said(source: Any) -> None:
    images = Images(source, batch_size=16)
    used, _ = read(images)
    assert torch.equal(used, DIFFERENT)
    facts = images.facts()
    assert (facts["count"], facts["repeated"], facts["expected"]) == (40, 120, 160)
    assert images.notes == ("120 of 160 images repeat others and were left out",)


def test_batches_keep_their_numbers_and_first_counts_the_images_given_before() -> None:
    source = torch.cat([DIFFERENT[:6], DIFFERENT[2:6], DIFFERENT[4:9], DIFFERENT[9:12]])
    _, batches = read(Images(source, batch_size=4))
    assert batches == [(0, 0, 4), (1, 4, 2), (3, 6, 4), (4, 10, 2)]


def test_labels_go_with_their_images() -> None:
    order = SHUFFLED % 40
    images = Images(TensorDataset(DIFFERENT[order], NUMBERS[order]), batch_size=9)
    used = [
        (image, int(label))
        for batch, known in images
        for image, label in zip(batch, known, strict=True)
    ]
    assert sorted(label for _, label in used) == NUMBERS.tolist()
    assert all(torch.equal(image, DIFFERENT[label]) for image, label in used)
    assert images.facts()["labelled"] == 40


def test_what_is_used_does_not_depend_on_the_batch_size_and_each_pass_starts_anew() -> None:
    images = [Images(FOUR_TIMES[SHUFFLED], batch_size=size) for size in (1, 7, 160)]
    facts = []
    for each in (*images, images[0]):
        read(each)
        facts.append({**each.facts(), "batches": ""})
    assert facts == facts[:1] * 4


def test_facts_of_the_first_images_count_what_repeated_among_them() -> None:
    images = Images(FOUR_TIMES[:50], batch_size=8)
    read(images)
    first = Images(FOUR_TIMES[:24], batch_size=8)
    read(first)
    assert images.facts(24) == {**first.facts(), "expected": 50}
    assert images.facts(40)["repeated"] == 0
    assert images.facts()["repeated"] == 10


@pytest.mark.parametrize("ranks", [2, 3])
def test_several_processes_keep_all_and_count_the_repetitions_between_them(
    ranks: int, share: Share
) -> None:
    shards = [Images(FOUR_TIMES, batch_size=16, shard=(rank, ranks)) for rank in range(ranks)]
    assert sum(len(read(shard)[0]) for shard in shards) == 160
    facts, whole = share(shards).facts(), Images(FOUR_TIMES, batch_size=16, keep_repeated=True)
    assert (facts["count"], facts["repeated"]) == (40, 120)
    assert shards[0].notes == ("120 of 160 images repeat others and were counted again",)
    assert len(read(whole)[0]) == 160
    assert whole.facts() == facts


def test_one_repeated_image_is_said_in_the_singular_and_none_not_at_all() -> None:
    images = Images(torch.cat([DIFFERENT, DIFFERENT[:1]]))
    read(images)
    assert images.notes == ("1 of 41 images repeats another and was left out",)
    images = Images(DIFFERENT)
    read(images)
    assert images.notes == ()
    assert images.facts()["repeated"] == 0


def test_an_image_with_negative_zeros_repeats_the_one_without() -> None:
    images = torch.zeros(2, 1, 4, 4)
    images[1].neg_()
    source = Images(images)
    assert sum(len(batch) for batch, _ in source) == 1
