"""What users bring that is neither right nor plainly wrong: sources, files, wrappers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from pytest_pan import InputError
from pytest_pan.inputs.images import Images

PICTURES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Items(Dataset[Any]):
    """A data set of what it is given; an exception among it is raised."""

    def __init__(self, items: Any) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(item := self.items[index], Exception):
            raise item
        return item


class OneBatch(DataLoader[Any]):
    """A loader whose only batch is this tensor."""

    def __init__(self, batch: Tensor) -> None:
        super().__init__(Items([0]), collate_fn=lambda items: batch)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(PICTURES)


def facts_of(source: object, **settings: Any) -> dict[str, Any]:
    images = Images(source, **settings)
    for _ in images:
        pass
    return images.facts()


def labels_of(source: object, **settings: Any) -> list[int] | None:
    parts = [labels for _, labels in Images(source, **settings)]
    return None if None in parts else torch.cat([p for p in parts if p is not None]).tolist()


def red(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)[None, :, :, 0] / 255).float()


@given(st.integers(1, 9), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_the_digest_does_not_depend_on_the_batch_size(size: int, dtype: torch.dtype) -> None:
    pictures = PICTURES.to(dtype)
    some, all_at_once = facts_of(pictures, batch_size=size), facts_of(pictures, batch_size=6)
    assert some == {**all_at_once, "batches": some["batches"]}


def test_the_digest_does_not_depend_on_the_layout_in_memory() -> None:
    colour = torch.rand(2, 3, 5, 7)
    assert (
        facts_of(colour)["digest"]
        == (facts_of(colour.contiguous(memory_format=torch.channels_last))["digest"])
    )


def test_the_same_bytes_in_another_shape_or_type_are_other_images() -> None:
    zeros = torch.zeros(2, 1, 4, 4)
    others = [zeros, zeros.view(1, 2, 4, 4), zeros.view(2, 1, 2, 8), zeros[:1].double()]
    assert len({facts_of(other)["digest"] for other in others}) == len(others)


def test_reading_twice_counts_once() -> None:
    images = Images(Items([(p, 1) for p in PICTURES]), batch_size=4)
    first = [len(batch) for batch, _ in images], images.facts()
    assert ([len(batch) for batch, _ in images], images.facts()) == first
    assert (first[1]["count"], first[1]["labelled"]) == (6, 6)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (3, [3] * 6),
        (np.int64(3), [3] * 6),
        (torch.tensor(3), [3] * 6),
        (None, None),
        ("cat", None),
        (0.5, None),
        (torch.zeros(8, 8), None),
        ([1, 2], None),
        ({"boxes": torch.zeros(1, 4)}, None),
    ],
    ids=repr,
)
def test_whole_numbers_are_labels_and_names_masks_and_boxes_are_none(
    label: Any, expected: list[int] | None
) -> None:
    """A segmentation or detection data set is as good a source of images as another."""
    source = Items([(p, label) for p in PICTURES])
    assert labels_of(source, batch_size=4) == expected
    assert facts_of(source)["labelled"] == len(expected or [])


def test_a_loader_that_collates_boxes_gives_images_without_labels() -> None:
    loader = DataLoader(Items([(p, {"area": 1.0}) for p in PICTURES]), batch_size=4)
    assert labels_of(loader) is None
    assert facts_of(loader)["labelled"] == 0


@pytest.mark.parametrize(
    ("item", "label"),
    [
        (lambda image: image, None),
        (lambda image: (image, 2), 2),
        (lambda image: [image, 2, "path.png"], 2),
        (lambda image: {"image": image, "label": 2}, 2),
        (lambda image: {"id": 5, "img": image, "target": 2}, 2),
    ],
)
def test_a_transform_reaches_the_image_in_an_item_of_any_form(
    item: Callable[[Image.Image], Any], label: int | None
) -> None:
    picture = Image.new("RGB", (8, 8), (51, 0, 0))
    images = Images(Items([item(picture)]), transform=red)
    ((batch, labels),) = list(images)
    assert torch.equal(batch, torch.full((1, 1, 8, 8), 51 / 255))
    assert (None if labels is None else labels.tolist()) == (None if label is None else [label])
    assert images.facts()["transform"] == "given"


@pytest.mark.parametrize(
    "source", [PICTURES, DataLoader(Items(PICTURES))], ids=["tensor", "loader"]
)
def test_a_transform_that_would_not_be_used_is_refused(source: object) -> None:
    with pytest.raises(
        InputError, match=r"got (Tensor|DataLoader); allowed: .*folder or a Dataset"
    ):
        Images(source, transform=lambda image: image)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (PICTURES, 6),
        (Items(PICTURES), 6),
        (Subset(Items(PICTURES), [0, 2]), 2),
        (DataLoader(Items(PICTURES), batch_size=4), 6),
        (DataLoader(Items(PICTURES), batch_size=4, drop_last=True), 4),
        (DataLoader(Items(PICTURES), batch_size=2, sampler=SubsetRandomSampler([5, 1, 3])), 3),
        (DataLoader(Items(PICTURES), batch_sampler=[[0, 1], [2]]), None),
        (DataLoader(Stream(), batch_size=4), None),
    ],
)
def test_how_many_images_are_to_come_is_how_many_come_or_unknown(
    source: object, expected: int | None
) -> None:
    """A loader over a million images may draw three: the memory estimate hangs on it."""
    images = Images(source, batch_size=4)
    assert images.expected == expected
    counted = sum(len(batch) for batch, _ in images)
    assert expected in (None, counted)


@pytest.mark.parametrize(
    ("source", "got"),
    [
        ({"images": PICTURES}, "dict"),
        ({"train": Items(PICTURES)}, "dict"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "Sequential"),
        ((p for p in PICTURES), "generator"),
        (Stream(), "Stream"),
        (None, "NoneType"),
        (object(), "object"),
    ],
)
def test_what_is_no_source_is_refused_before_anything_is_read(source: object, got: str) -> None:
    with pytest.raises(InputError, match=f"^images, got {got}; allowed: a tensor .*folder") as info:
        Images(source)
    assert "never makes up images" in info.value.next


def test_a_stream_by_itself_is_refused_with_the_loader_that_makes_it_a_source() -> None:
    class Sized(Stream):
        def __len__(self) -> int:
            return len(PICTURES)

    for stream in (Stream(), Sized()):
        with pytest.raises(InputError, match="Wrap an IterableDataset in a DataLoader") as info:
            Images(stream)
        assert info.value.got == type(stream).__name__
        assert facts_of(DataLoader(stream, batch_size=4))["count"] == 6


def nested() -> Tensor:
    return torch.nested.nested_tensor([PICTURES[0], PICTURES[1, :, :5]], layout=torch.jagged)


@pytest.mark.filterwarnings("ignore:.*(nested|Sparse CSR) tensor")
@pytest.mark.parametrize(
    ("make", "got"),
    [
        (PICTURES.to_sparse, r"layout torch\.sparse_coo; .*to_dense\(\)"),
        (PICTURES[:, 0].to_sparse_csr, r"layout torch\.sparse_csr"),
        (lambda: PICTURES.to("meta"), "a meta tensor, which has no values"),
        (nested, "a nested tensor; .*stack them"),
    ],
    ids=["coo", "csr", "meta", "nested"],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: Items([t]), lambda t: OneBatch(t)])
def test_tensors_that_hold_no_rows_of_pixels_are_refused_by_name(
    make: Callable[[], Tensor], got: str, wrap: Callable[[Tensor], Any]
) -> None:
    with pytest.raises(InputError, match=f"^images, got .*{got}"):
        facts_of(wrap(make()))


@pytest.mark.parametrize("shape", [(), (8,), (8, 8), (1, 8, 8), (1, 1, 1, 8, 8)])
def test_a_tensor_of_another_dimension_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=re.escape(f"{shape}; allowed: floating point (N, C, H, W")
    ):
        facts_of(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("wrap", [lambda t: t, Items, lambda t: DataLoader(Items(t), 2)])
def test_whole_numbers_as_pixels_are_refused_with_what_to_do(dtype: Any, wrap: Any) -> None:
    with pytest.raises(InputError, match=rf"got {dtype} .*floating point .*Scale them to \[0, 1\]"):
        facts_of(wrap(PICTURES.to(dtype)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("size", [1, 4, 6])
def test_the_image_that_is_not_finite_is_counted_over_batches(value: float, size: int) -> None:
    bad = PICTURES.clone()
    bad[4, 0, 7, 7] = value
    with pytest.raises(InputError, match=r"tensor, image 4: not a finite image"):
        facts_of(bad, batch_size=size)


def test_what_a_data_set_raises_is_not_blamed_on_the_model() -> None:
    source = Items([*PICTURES[:4], KeyError("lost.png")])
    with pytest.raises(
        InputError, match=r"images of Items: .*KeyError: 'lost\.png'.*got 4"
    ) as info:
        facts_of(source, batch_size=2)
    assert isinstance(info.value.__cause__, KeyError)


def test_an_error_of_the_reader_of_the_batches_stays_its_own() -> None:
    """The model raises while a batch is out: that is not an error of the images."""
    reading = iter(Images(PICTURES, batch_size=2))
    next(reading)
    with pytest.raises(ValueError, match="the model's"):
        reading.throw(ValueError("the model's"))  # type: ignore[attr-defined]


def test_images_of_different_shapes_are_refused_with_the_shapes() -> None:
    shapes = [(1, 8, 8), (1, 9, 8)]
    with pytest.raises(InputError, match=r"Items: .*got \(1, 8, 8\), \(1, 9, 8\).*Resize") as info:
        facts_of(Items([torch.rand(s) for s in shapes]))
    assert "transform" in info.value.next


def test_facts_tell_how_the_images_came_in_batches() -> None:
    loader = DataLoader(torch.rand(10, 1, 4, 4), batch_size=4)
    assert facts_of(loader)["batches"] == "2 of 4, 1 of 2"
    assert facts_of(torch.rand(6, 1, 4, 4), batch_size=3)["batches"] == "2 of 3"


def test_facts_of_the_first_images_are_those_of_a_pass_over_them_alone() -> None:
    pictures, labels = torch.rand(10, 1, 4, 4), torch.arange(10)
    images = Images(TensorDataset(pictures, labels), batch_size=4)
    list(images)
    fewer = facts_of(TensorDataset(pictures[:8], labels[:8]), batch_size=4)
    assert images.facts(8) == {**fewer, "expected": 10}
    assert images.facts(10) == images.facts()
