"""Class numbers of labels in every form; what cannot be used is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from image_files import paint, red
from torch.utils.data import DataLoader, Dataset, Subset

from pytest_pan.inputs.images import Images
from pytest_pan.inputs.labels import class_numbers

CLASSES = ["ant", "bee", "cat"]
NUMBERS = [2, 0, 1, 1, 2, 0, 2]
PICTURES = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Labelled(Dataset[Any]):
    def __init__(self, labels: Any, **attributes: Any) -> None:
        self.labels = labels
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return PICTURES[index], self.labels[index]


def read(source: Any, **settings: Any) -> tuple[list[int] | None, tuple[str, ...]]:
    images = Images(source, **settings)
    parts = [labels for _, labels in images]
    used = None if None in parts else torch.cat([p for p in parts if p is not None]).tolist()
    assert images.facts()["labelled"] == len(used or [])
    return used, images.notes


ONE_HOT = F.one_hot(torch.tensor(NUMBERS))
FORMS: dict[str, Any] = {
    "ints": NUMBERS,
    "floats": [float(n) for n in NUMBERS],
    "numpy": np.array(NUMBERS, np.int16),
    "numpy floats": np.array(NUMBERS, np.float32),
    "float tensors": torch.tensor(NUMBERS).float(),
    "columns": torch.tensor(NUMBERS)[:, None],
    "float columns": torch.tensor(NUMBERS)[:, None].double(),
    "one-hot": ONE_HOT,
    "one-hot floats": ONE_HOT.bfloat16(),
    "one-hot bools": ONE_HOT.bool(),
    "one-hot numpy": ONE_HOT.numpy(),
    "one-hot lists": ONE_HOT.tolist(),
    "one-hot lists of floats": ONE_HOT.float().tolist(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: DataLoader(s, batch_size=3)])
def test_numbers_and_one_hot_rows_are_labels_in_every_form(
    form: str, wrap: Callable[[Any], Any]
) -> None:
    assert read(wrap(Labelled(FORMS[form])), batch_size=3) == (NUMBERS, ())


NAMED = [CLASSES[number] for number in NUMBERS]


class Feature:
    names = CLASSES


@pytest.mark.parametrize(
    "attributes",
    [
        {"classes": CLASSES},
        {"classes": tuple(CLASSES)},
        {"class_to_idx": {"cat": 2, "ant": 0, "bee": 1}},
        {"features": {"image": None, "label": Feature()}},
    ],
    ids=["list", "tuple", "dict", "features"],
)
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: DataLoader(s, 3), lambda s: Subset(s, range(7))]
)
def test_names_are_labels_where_the_data_set_knows_them(
    attributes: dict[str, Any], wrap: Callable[[Any], Any]
) -> None:
    source = wrap(Labelled(NAMED, **attributes))
    assert Images(source).class_names == tuple(CLASSES)
    assert read(source) == (NUMBERS, ())


@pytest.mark.parametrize(
    ("labels", "attributes", "why"),
    [
        (["cat"] * 7, {}, 'strings that are no class names, first "cat"'),
        (["ant"] * 6 + ["dog"], {"classes": CLASSES}, 'no class names, first "dog"'),
        (["ant"] * 7, {"classes": [*CLASSES, "ant"]}, 'no class names, first "ant"'),
        ([0.5] * 7, {}, "numbers that are not whole, first 0.5"),
        ([float("nan")] * 7, {}, "not whole, first nan"),
        ([[0.5, 0.5]] * 7, {}, "rows of 2 numbers that are not one-hot"),
        ([[1, 0, 1]] * 7, {}, "rows of 3 numbers that are not one-hot"),
        ([[0, 2, 0]] * 7, {}, "rows of 3 numbers that are not one-hot"),
        (torch.zeros(7, 8, 8), {}, r"arrays of shape \(8, 8\)"),
        ([{"boxes": 1}] * 7, {}, "values of type dict"),
        ([1, 2, None, 1, 1, 1, 1], {}, "1 of 7 images have no label"),
        ([10**30] * 7, {}, "numbers larger than 64 bits"),
        ([b"cat"] * 7, {}, "values of type bytes"),
    ],
)
def test_what_cannot_be_used_is_said_with_the_first_of_it(
    labels: Any, attributes: dict[str, Any], why: str
) -> None:
    used, (note,) = read(Labelled(labels, **attributes))
    assert used is None
    assert note.startswith("labels not used: ")
    assert re.search(why, note)


def test_images_without_labels_need_no_note() -> None:
    assert read(Labelled([None] * 7)) == (None, ())
    assert read(PICTURES) == (None, ())


def test_labels_of_some_batches_only_are_said_with_their_number() -> None:
    images = Images(Labelled([*NUMBERS[:4], 0.5, 0.5, 1]), batch_size=4)
    assert [None if known is None else known.tolist() for _, known in images] == [
        [2, 0, 1, 1],
        None,
    ]
    assert images.notes == (
        "labels of 3 of 7 images not used: numbers that are not whole, first 0.5",
    )


def test_reasons_from_several_processes_come_together(
    share: Callable[[list[Images]], Images],
) -> None:
    source = Labelled(["cat"] * 7)
    shards = [Images(source, batch_size=2, shard=(rank, 2)) for rank in range(2)]
    for shard in shards:
        list(shard)
    assert share(shards).notes == ('labels not used: strings that are no class names, first "cat"',)


def test_lists_that_a_loader_turned_by_its_side_are_turned_back() -> None:
    """Also where there are as many images as classes."""
    rows = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert read(DataLoader(Labelled(rows), batch_size=3)) == ([1, 2, 0], ())


@pytest.mark.parametrize(
    ("stray", "note"),
    [
        (["z.png"], "z.png lies beside the class folders"),
        (["y.png", "z.png"], "y.png and 1 other file lie beside the class folders"),
        (["x.png", "y.png", "z.png"], "x.png and 2 other files lie beside the class folders"),
    ],
)
def test_a_picture_beside_the_class_folders_takes_the_labels_and_is_named(
    tmp_path: Path, stray: list[str], note: str
) -> None:
    for name in ("cat/a.png", "dog/b.png", *stray):
        paint(tmp_path / name)
    assert read(tmp_path, transform=red) == (None, (f"labels not used: {note}",))


def test_labels_become_the_numbers_of_the_outputs_with_their_names() -> None:
    names, outputs = ("cat", "ant"), ("ant", "bee", "cat")
    for given in ([0, 1], torch.eye(2), ["cat", "ant"]):
        numbers, why = class_numbers(given, 2, names, outputs)
        assert (numbers.tolist() if numbers is not None else None, why) == ([2, 0], "")
    for others in (("cat", "dog"), ("cat", "cat"), ()):  # not all of them are outputs
        numbers, _ = class_numbers([0, 1], 2, others, outputs)
        assert numbers is not None
        assert numbers.tolist() == [0, 1]
    numbers, _ = class_numbers(["cat", "bee"], 2, (), outputs)
    assert numbers is not None
    assert numbers.tolist() == [2, 1]
