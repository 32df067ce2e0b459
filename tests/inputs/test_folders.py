"""Folders of image files: which files count, what their labels are, and what a broken one does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import paint, red, truncated
from PIL import Image
from torch import Tensor

from pytest_pan import InputError
from pytest_pan.inputs.folders import ImageFolder
from pytest_pan.inputs.images import Images


def facts_of(source: object, **settings: Any) -> dict[str, Any]:
    images = Images(source, **settings)
    for _ in images:
        pass
    return images.facts()


def labels_of(source: object, **settings: Any) -> list[int] | None:
    parts = [labels for _, labels in Images(source, **settings)]
    return None if None in parts else torch.cat([p for p in parts if p is not None]).tolist()


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.bmp", "a.gif", "a.tif", "a.webp"])
def test_the_formats_are_known_by_their_endings(tmp_path: Path, name: str) -> None:
    paint(tmp_path / name)
    assert facts_of(tmp_path, transform=red)["count"] == 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_mode_of_a_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    paint(tmp_path / name, mode=mode)
    (image, _), *_ = Images(tmp_path, transform=lambda i: torch.zeros(len(i.getbands()), *i.size))
    assert image.shape == (1, 3, 8, 8)


def test_a_picture_that_pillow_warns_of_is_not_broken(tmp_path: Path) -> None:
    """Warnings are errors in this suite, as they are in many users' suites."""
    palette = Image.new("P", (8, 8))
    palette.save(tmp_path / "a.png", transparency=bytes([0] * 256))
    assert facts_of(tmp_path, transform=red)["count"] == 1


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["a.png", "b.png"], None),
        (["cat/a.png", "dog/b.png", "dog/c.png"], [0, 1, 1]),
        (["dog/b.png", "cat/deep/er/a.png"], [0, 1]),
        (["cat/a.png", "b.png"], None),
        (["only/a.png"], [0]),
    ],
)
def test_the_first_folder_below_is_the_class_where_every_file_has_one(
    tmp_path: Path, files: list[str], labels: list[int] | None
) -> None:
    for file in files:
        paint(tmp_path / file)
    assert labels_of(tmp_path, transform=red) == labels
    assert labels_of(str(tmp_path), transform=red, batch_size=1) == labels


def test_folders_named_like_images_and_other_files_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "Thumbs.db").touch()
    paint(tmp_path / "album.jpg" / "a.png")
    assert [file.name for file in ImageFolder(tmp_path, red).files] == ["a.png"]


def test_a_missing_folder_and_one_without_images_are_told_apart(tmp_path: Path) -> None:
    missing, file = tmp_path / "gone", tmp_path / "notes.txt"
    file.touch()
    for path in (missing, file):
        with pytest.raises(InputError, match=rf"no such folder, got {re.escape(str(path))}; allo"):
            Images(path)
    with pytest.raises(InputError, match=r"no image files; allowed: files ending in .*\.png"):
        Images(tmp_path)


def corrupt(path: Path) -> None:
    paint(path.with_suffix(".png"))
    data = bytearray(path.with_suffix(".png").read_bytes())
    path.with_suffix(".png").unlink()
    data[45:50] = b"?????"
    path.write_bytes(data)


BREAK: dict[str, Callable[[Path], Any]] = {
    "truncated": truncated,
    "corrupt": corrupt,
    "empty": Path.touch,
    "text": lambda path: path.write_text("<html>not found</html>"),
    "half a header": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"),
    "half a tiff": lambda path: path.write_bytes(b"II*\0\xff\xff\xff\xff"),
    "half a bitmap": lambda path: path.write_bytes(b"BM" + b"\xff" * 20),
}


@pytest.mark.parametrize("how", BREAK)
def test_a_broken_file_is_named_or_skipped_and_never_read_as_an_image(
    tmp_path: Path, how: str
) -> None:
    broken = paint(tmp_path / "cat" / "a.png").with_name("b.jpg")
    paint(tmp_path / "dog" / "c.png")
    BREAK[how](broken)
    with pytest.raises(InputError, match=r"broken image file.*Mend or remove") as info:
        facts_of(tmp_path, transform=red)
    assert info.value.where == str(broken)
    for size in (1, 2, 3):
        images = Images(tmp_path, transform=red, bad_images="skip", batch_size=size)
        assert [n for _, labels in images for n in labels.tolist()] == [0, 1]  # type: ignore
        assert [skip.what for skip in images.skips] == [str(broken)]
        assert images.facts()["count"] == 2


def test_where_every_file_is_broken_there_are_no_images_and_it_says_why(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no images, got 2 broken image files"):
        facts_of(tmp_path, bad_images="skip")


def test_a_transform_that_fails_names_the_file(tmp_path: Path) -> None:
    file = paint(tmp_path / "tiny.png")

    def crop(image: Image.Image) -> Tensor:
        raise ValueError(f"{image.size} is smaller than the crop")

    with pytest.raises(InputError, match=r"the transform raised ValueError: \(8, 8\) is") as info:
        facts_of(tmp_path, transform=crop, bad_images="skip")
    assert info.value.where == str(file)
