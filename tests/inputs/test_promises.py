"""A source that gives fewer images than it promised is an error, wherever it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import paint, red, truncated
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from pytest_pan import AuditError, InputError, audit
from pytest_pan.inputs.images import Images

Share = Callable[[list[Images]], Images]

PICTURES = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Ends(Dataset[Tensor]):
    """400 images by its length, of which it has so many."""

    def __init__(self, has: int = 40) -> None:
        self.has = has

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> Tensor:
        if index >= self.has:
            raise StopIteration
        return PICTURES[index]


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(PICTURES[:40])


class Sized(Stream):
    def __len__(self) -> int:
        return 400


class Sampled(Sampler[int]):
    def __iter__(self) -> Any:
        return iter(range(40))

    def __len__(self) -> int:
        return 400


class Short(DataLoader[Tensor]):
    """A loader that stops after 5 batches."""

    def __iter__(self) -> Any:
        return iter(list(super().__iter__())[:5])


class Limited(Short):
    def __len__(self) -> int:
        return 5


class Batches(list[list[int]]):
    def __len__(self) -> int:
        return 50


def read(images: Images) -> int:
    return sum(len(batch) for batch, _ in images)


@pytest.mark.parametrize(
    ("source", "got"),
    [
        (Ends(), "40 of 400 images"),
        (Ends(0), "0 of 400 images"),
        (DataLoader(Ends(), batch_size=8), "40 of 400 images"),
        (DataLoader(Ends(), batch_size=8, num_workers=1), "40 of 400 images"),
        (DataLoader(Sized(), batch_size=8), "40 of 400 images"),
        (DataLoader(PICTURES, batch_size=8, sampler=Sampled()), "40 of 400 images"),
        (Short(PICTURES, batch_size=8), "40 of 400 images"),
        (DataLoader(Ends(), batch_sampler=Batches([[n] for n in range(50)])), "40 of 50 batches"),
        (DataLoader(Ends(), batch_size=None, collate_fn=lambda i: i[None]), "40 of 400 batches"),
    ],
)
def test_a_source_that_ends_early_is_an_error_with_both_numbers(source: Any, got: str) -> None:
    with pytest.raises(InputError, match=r"the source ended early, got .*StopIteration") as info:
        read(Images(source))
    assert info.value.got == got


def test_the_images_before_the_end_arrive_first() -> None:
    images = Images(Ends(), batch_size=32)
    reading = iter(images)
    assert [len(next(reading)[0]) for _ in range(2)] == [32, 8]
    with pytest.raises(InputError, match="ended early"):
        next(reading)
    assert images.facts()["count"] == 40


@pytest.mark.parametrize("workers", [0, 2])
def test_the_end_is_the_same_whoever_loads(workers: int) -> None:
    with pytest.raises(InputError, match="got 40 of 400 images"):
        read(Images(Ends(), workers=workers))


def test_what_a_collate_function_leaves_out_is_missing_too() -> None:
    loader = DataLoader(Ends(400), batch_size=8, collate_fn=lambda items: torch.stack(items[1:]))
    with pytest.raises(InputError, match=r"lack images, got 350 of 400 images.*collate_fn"):
        read(Images(loader))


@pytest.mark.parametrize(
    "source",
    [
        DataLoader(Stream(), batch_size=8),
        Limited(PICTURES, batch_size=8),
        DataLoader(PICTURES[:40], batch_sampler=[list(range(40))]),
        DataLoader(PICTURES[:45], batch_size=10, drop_last=True),
        PICTURES[:40],
    ],
)
def test_a_source_that_keeps_its_promise_or_makes_none_is_read(source: Any) -> None:
    assert read(Images(source)) == 40


def test_broken_files_that_are_skipped_and_repeated_images_count_as_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / name)
    truncated(tmp_path / "c.jpg")
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes())
    images = Images(tmp_path, transform=red, bad_images="skip")
    assert read(images) == 2
    assert (images.expected, images.facts()["repeated"]) == (4, 1)


@pytest.mark.parametrize("source", [Ends(), DataLoader(Ends(), batch_size=8)])
def test_several_processes_find_the_end_together(source: Any, share: Share) -> None:
    images = [Images(source, batch_size=8, shard=(rank, 3)) for rank in range(3)]
    assert sum(map(read, images)) == 40
    with pytest.raises(InputError, match="ended early, got 40 of 400 images"):
        share(images)


def test_several_processes_that_have_all_images_between_them_have_kept_the_promise(
    share: Share,
) -> None:
    images = [Images(Ends(400), batch_size=8, shard=(rank, 3)) for rank in range(3)]
    for shard in images:
        read(shard)
    assert share(images).facts()["count"] == 400


def test_an_audit_ends_with_the_sentence() -> None:
    with pytest.raises(AuditError, match=r"images of Ends: the source ended early, got 40 of 400"):
        audit(nn.Conv2d(1, 2, 3, padding=1), Ends())
