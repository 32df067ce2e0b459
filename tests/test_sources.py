"""Models and images from what users have; what cannot be used is said clearly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pytest_pan import InputError
from pytest_pan.inputs import Images, load_model, model_facts


def tensor_of(image: Any) -> Tensor:
    """A 1-channel 8x8 tensor of a picture's red values."""
    return torch.from_numpy(np.array(image.resize((8, 8)))[None, :, :, 0] / 255).float()


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def read(images: Images) -> tuple[Tensor, list[int] | None, dict[str, Any]]:
    parts = list(images)
    labels = [label for _, part in parts if part is not None for label in part.tolist()]
    known = labels if all(part is not None for _, part in parts) else None
    return torch.cat([part for part, _ in parts]), known, images.facts()


PICTURES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (PICTURES, None),
        (Items(list(PICTURES)), None),
        (Items([(p, i) for i, p in enumerate(PICTURES)]), [0, 1, 2, 3, 4]),
        (Items([{"image": p, "label": 7} for p in PICTURES]), [7] * 5),
        (Items([{"pixel_values": p} for p in PICTURES]), None),
        (TensorDataset(PICTURES, torch.arange(5)), [0, 1, 2, 3, 4]),
        (DataLoader(TensorDataset(PICTURES, torch.arange(5)), batch_size=3), [0, 1, 2, 3, 4]),
        (DataLoader(Items([{"x": p, "y": 1} for p in PICTURES]), batch_size=4), [1] * 5),
        (list(PICTURES), None),
    ],
    ids=str,
)
def test_every_source_gives_the_same_images_and_digest(source: Any, labels: Any) -> None:
    images, found, facts = read(Images(source, batch_size=2))
    _, _, expected = read(Images(PICTURES, batch_size=5))
    assert torch.equal(images, PICTURES)
    assert found == labels
    assert (facts["count"], facts["shape"]) == (5, [1, 8, 8])
    assert facts["digest"] == expected["digest"]


def test_the_digest_tells_content_and_order() -> None:
    digests = {read(Images(x))[2]["digest"] for x in (PICTURES, PICTURES.flip(0), PICTURES[:4])}
    assert len(digests) == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, shade in (("cat/a.png", 10), ("cat/b.JPG", 20), ("dog/c.png", 30)):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (shade, 0, 0)).save(file)
    (tmp_path / "cat/notes.txt").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_gives_its_images_by_name_and_class_folders_give_labels(
    folder: Path, kind: type
) -> None:
    images, labels, facts = read(Images(kind(folder), transform=tensor_of))
    assert labels == [0, 0, 1]
    torch.testing.assert_close(
        images[:, 0, 0, 0] * 255, torch.tensor([10.0, 20, 30]), atol=2, rtol=0
    )
    assert facts["source"] == str(folder)
    assert Images(folder, transform=tensor_of).expected == 3


def test_a_flat_folder_has_no_labels_and_the_imagenet_transform_by_default(folder: Path) -> None:
    images, labels, facts = read(Images(folder / "cat"))
    assert (images.shape, labels) == ((2, 3, 224, 224), None)
    assert "ImageNet" in facts["transform"]
    expected = (
        torch.tensor([10 / 255, 0, 0]) - torch.tensor([0.485, 0.456, 0.406])
    ) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(images[0, :, 100, 100], expected)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 half a jpeg"])
def test_a_broken_file_is_named_and_can_be_skipped(folder: Path, content: bytes) -> None:
    (folder / "dog/broken.jpg").write_bytes(content)
    with pytest.raises(
        InputError, match=r"dog/broken\.jpg: broken image file.*pan_bad_images = skip"
    ):
        read(Images(folder, transform=tensor_of))
    skipping = Images(folder, transform=tensor_of, bad_images="skip", batch_size=1)
    images, labels, _ = read(skipping)
    assert (len(images), labels) == (3, [0, 0, 1])
    assert [Path(skip.what).name for skip in skipping.skips] == ["broken.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (PICTURES.byte(), r"got torch.uint8 .*floating point \(N, C, H, W\).*Scale to \[0, 1\]"),
        (PICTURES[0], r"got torch.float32 \(1, 8, 8\)"),
        (torch.empty(0, 1, 8, 8), "no images"),
        (Items([]), "no images"),
        (None, "images, got NoneType; allowed: a tensor .*never invented"),
        (7, "images, got int"),
        (iter([PICTURES]), "images, got list_iterator"),
        ("no/such/folder", "no such folder, got no/such/folder"),
        (Items([Image.new("RGB", (8, 8))]), "got Image; allowed: a tensor.*by a transform"),
        (Items([{"picture": 1}]), "a dict with picture; allowed: .*pixel_values"),
        (
            Items([torch.rand(1, 8, 8), torch.rand(1, 9, 9)]),
            r"different shapes.*\(1, 8, 8\), \(1, 9, 9\)",
        ),
    ],
    ids=str,
)
def test_images_that_cannot_be_used_are_refused_with_what_is_allowed(
    source: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(Images(source))


def test_an_empty_folder_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image files; allowed: files ending in \.jpg"):
        Images(tmp_path)


def test_an_image_with_nan_is_named_by_its_place() -> None:
    bad = PICTURES.clone()
    bad[3, 0, 2, 2] = float("nan")
    with pytest.raises(InputError, match="image 3: not a finite image"):
        read(Images(bad, batch_size=2))


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("torchvision.models", {}, "got 'torchvision.models'; allowed: 'module:callable'"),
        ("no_such_module:net", {}, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("torchvision.models:resnet_of_dreams", {}, "AttributeError"),
        ("torch:load", {"f": "missing.pth"}, "FileNotFoundError.*missing.pth.*weights file"),
        ("builtins:dict", {}, "no model, got dict; allowed: a torch.nn.Module"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(
    spec: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_model(spec, arguments)


def test_a_model_is_called_by_name_with_its_arguments() -> None:
    model = load_model("torch.nn:Conv2d", {"in_channels": 1, "out_channels": 5, "kernel_size": 3})
    assert isinstance(model, nn.Conv2d)
    assert model.out_channels == 5


def test_wrappers_are_taken_off() -> None:
    inner = nn.Conv2d(1, 1, 3)
    assert load_model(nn.DataParallel(inner)) is inner
    assert load_model(torch.compile(inner)) is inner


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_torchscript_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"TorchScript hides.*Audit the eager model"):
        load_model(torch.jit.trace(nn.Conv2d(1, 1, 3), torch.rand(1, 1, 5, 5)))


def test_the_models_digest_tells_weights_types_and_structure_but_not_flags() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)).bfloat16()
    first = model_facts(model)
    assert model_facts(model.eval())["digest"] == first["digest"]
    assert first["parameters"] == 9 + 1 + 2
    others = {model_facts(model.float())["digest"]}
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1
    others.add(model_facts(model)["digest"])
    model[1].num_batches_tracked += 1
    others.add(model_facts(model)["digest"])
    others.add(model_facts(nn.Sequential(*model, nn.ReLU()))["digest"])
    assert len(others | {first["digest"]}) == 5
