"""Pictures of every mode as RGB and as tensors; oracle: torchvision's loader and ToTensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import paint, red
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import ToTensor

from pytest_pan import InputError
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.pictures import to_rgb, to_tensor

RANDOM = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
CONVERTED = ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBa")


def picture(mode: str) -> Image.Image:
    full = Image.fromarray(RANDOM)
    return (full if mode.startswith("RGB") else full.convert("RGB")).convert(mode)


class Pictures(Dataset[Any]):
    """A data set of PIL images, as Hugging Face's and torchvision's are."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def only(source: object, **settings: Any) -> Tensor:
    ((batch, _),) = Images(source, **settings)
    return batch


@pytest.mark.parametrize("mode", CONVERTED)
def test_every_mode_becomes_rgb_as_by_torchvision(mode: str) -> None:
    made = picture(mode)
    assert np.array_equal(to_rgb(made), made.convert("RGB"))
    assert made.mode == mode


def test_premultiplied_grey_becomes_rgb() -> None:
    made = Image.new("La", (2, 2))
    assert to_rgb(made).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "I;16"), ("a.tif", "I;16"), ("b.tif", "I;16B")]
)
def test_grey_of_16_bits_is_scaled_to_8(tmp_path: Path, name: str, mode: str) -> None:
    values = np.array([[0, 257, 257 * 128], [257 * 255, 9 * 257, 300]], np.uint16)
    made = Image.fromarray(values)
    if mode == "I;16B":
        made = Image.frombytes(mode, (3, 2), values.astype(">u2").tobytes())
    made.save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        assert opened.mode == mode
    expected = torch.tensor([[0, 1, 128], [255, 9, 1]]) / 255
    assert torch.equal(only(tmp_path)[0], expected.expand(3, 2, 3))
    assert torch.equal(only(Pictures(made))[0], expected[None])


@pytest.mark.parametrize("mode", ["I", "F"])
@pytest.mark.parametrize("transform", [red, None])
def test_modes_without_a_white_are_refused_by_name_or_skipped(
    tmp_path: Path, mode: str, transform: Any
) -> None:
    paint(tmp_path / "a.png")
    bad = tmp_path / "b.tif"
    Image.new(mode, (8, 8)).save(bad)
    with pytest.raises(InputError, match=f"mode {mode}: it does not.*Save it as RGB") as info:
        only(tmp_path, transform=transform)
    assert info.value.where == str(bad)
    images = Images(tmp_path, transform=transform, bad_images="skip")
    assert sum(len(batch) for batch, _ in images) == 1
    assert [(skip.what, f"mode {mode}" in skip.why) for skip in images.skips] == [(str(bad), True)]
    with pytest.raises(InputError, match=f"mode {mode}: it does"):
        only(Pictures(Image.new(mode, (8, 8))))


def test_a_mode_that_pillow_cannot_convert_is_refused_by_name() -> None:
    class Odd(Image.Image):
        mode = "BGR;15"

        def convert(self, *modes: Any, **more: Any) -> Any:
            raise ValueError("conversion from BGR;15 to RGB not supported")

    with pytest.raises(
        InputError, match=r"mode BGR;15: Pillow cannot convert.*not supported.*Save"
    ):
        to_rgb(Odd())


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tensor_of_a_picture_is_that_of_torchvision(mode: str) -> None:
    made = picture(mode)
    assert torch.equal(to_tensor(made), ToTensor()(made))


def test_a_black_and_white_picture_has_one_channel_and_others_three() -> None:
    assert to_tensor(picture("1")).unique().tolist() == [0, 1]
    assert [len(to_tensor(picture(mode))) for mode in ("1", "L", "P", "RGBA", "CMYK")] == [
        1,
        1,
        3,
        3,
        3,
    ]


def test_the_orientation_in_the_file_is_ignored_as_by_torchvision(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RANDOM[..., :3]).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(only(tmp_path)[0], ToTensor()(pil_loader(tmp_path / "a.png")))
    assert only(tmp_path).shape == (1, 3, 6, 5)


def test_a_folder_without_a_transform_gives_the_pixels_as_they_are(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        paint(tmp_path / name)
    images = Images(tmp_path)
    assert images.facts()["transform"] == "none: pixels in [0, 1] as they are"
    ((batch, labels),) = images
    files = sorted(tmp_path.rglob("*.png"))
    assert torch.equal(batch, torch.stack([ToTensor()(pil_loader(file)) for file in files]))
    assert labels is not None
    assert labels.tolist() == [0, 1]
    assert images.facts()["transform"] == "none: pixels in [0, 1], 3x8x8 as they are"


def sized(path: Path, *size: int) -> Image.Image:
    made = Image.effect_noise(size, 50).convert("RGB")
    made.save(path)
    return made


@pytest.mark.parametrize("size", [1, 2])
def test_pictures_of_mixed_sizes_are_refused_with_the_sizes(tmp_path: Path, size: int) -> None:
    made = [sized(tmp_path / "a.png", 8, 8), sized(tmp_path / "b.png", 12, 9)]
    for source in (tmp_path, Pictures(*made)):
        with pytest.raises(
            InputError, match=r"without a transform, got 3x8x8, 3x9x12.*pan_transform"
        ):
            list(Images(source, batch_size=size))


def test_mixed_sizes_in_different_processes_are_refused_where_they_meet(
    tmp_path: Path, share: Callable[[list[Images]], Images]
) -> None:
    sized(tmp_path / "a.png", 8, 8), sized(tmp_path / "b.png", 12, 9)
    shards = [Images(tmp_path, batch_size=1, shard=(rank, 2)) for rank in range(2)]
    for shard in shards:
        list(shard)
    with pytest.raises(InputError, match="3x8x8, 3x9x12"):
        share(shards)


ITEMS: list[Callable[[Image.Image], Any]] = [
    lambda image: image,
    lambda image: (image, 2),
    lambda image: {"image": image, "label": 2},
    lambda image: {"img": image, "fine_label": 3},
]


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_of_pictures_needs_no_transform(
    item: Callable[[Image.Image], Any], workers: int
) -> None:
    images = Images(Pictures(item(picture("RGB"))), workers=workers)
    assert images.facts()["transform"] == ""
    assert torch.equal(only_of(images)[0], ToTensor()(picture("RGB")))
    assert images.facts()["transform"] == "none: pixels in [0, 1], 3x6x5 as they are"


def only_of(images: Images) -> Tensor:
    ((batch, _),) = images
    return batch


def halved(image: Image.Image) -> Tensor:
    assert image.mode == "RGB"
    return ToTensor()(image) / 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_suggested_transform_gets_every_picture_as_rgb(tmp_path: Path, mode: str) -> None:
    made = picture(mode)
    made.save(tmp_path / "a.png")
    for source in (tmp_path, Pictures((made, 1))):
        images = Images(source, suggested=(halved, "by half"))
        assert torch.equal(only_of(images)[0], ToTensor()(made.convert("RGB")) / 2)
        assert images.facts()["transform"] == "by half"


def test_a_transform_of_the_user_goes_before_a_suggested_one_and_tensors_need_neither(
    tmp_path: Path,
) -> None:
    paint(tmp_path / "a.png")
    images = Images(tmp_path, transform=red, suggested=(halved, "by half"))
    assert only_of(images).shape == (1, 1, 8, 8)
    assert images.facts()["transform"] == "given"
    for source in (torch.rand(2, 3, 4, 4), Pictures(torch.rand(3, 4, 4))):
        images = Images(source, suggested=(halved, "by half"))
        assert only_of(images).max() > 0.5
        assert images.facts()["transform"] == ""


def test_pictures_in_a_transform_of_the_user_stay_as_they_are() -> None:
    assert only(Pictures(picture("L")), transform=ToTensor()).shape == (1, 1, 6, 5)
