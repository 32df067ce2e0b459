"""Folders of image files: which files count, what their labels are, and what a broken one does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import paint, red, truncated
from PIL import Image
from torch import Tensor, nn

from pytest_pan import InputError, audit
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


def names_in(root: Path) -> list[str]:
    return [str(file.relative_to(root)) for file in ImageFolder(root, red).files]


def notes_of(root: Path) -> tuple[str, ...]:
    return Images(root, transform=red).notes


def test_linked_class_folders_and_files_are_read_with_the_labels_of_their_links(
    tmp_path: Path,
) -> None:
    store, root = tmp_path / "store", tmp_path / "images"
    for name in ("a/x.png", "a/deep/y.png", "blob", "z.png"):
        paint((store / name).with_suffix(".png")).rename(store / name)
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(store / "a")
    (root / "dog" / "b.png").symlink_to(store / "blob")
    (root / "dog" / "c.png").symlink_to("../../store/z.png")
    assert names_in(root) == ["cat/deep/y.png", "cat/x.png", "dog/b.png", "dog/c.png"]
    assert labels_of(root, transform=red) == [0, 0, 1, 1]
    assert notes_of(root) == ()


def test_labels_are_not_used_where_a_folder_without_images_may_be_a_class(tmp_path: Path) -> None:
    for name in ("ant/1.png", "cat/1.png", "__MACOSX/._1.png"):
        (tmp_path / name).parent.mkdir()
        paint(tmp_path / name)
    assert labels_of(tmp_path) == [0, 1]
    (tmp_path / "bee").mkdir()
    assert labels_of(tmp_path) is None
    assert "labels not used: the folder bee has no images; is it a class?" in notes_of(tmp_path)


def test_links_in_circles_and_to_what_is_read_already_are_followed_once(tmp_path: Path) -> None:
    root, outside = tmp_path / "images", tmp_path / "outside"
    for name in ("images/m/a.png", "outside/b.png"):
        paint(tmp_path / name)
    (root / "a").symlink_to(root / "m")  # the folder's own name goes before that of a link
    (root / "m" / "self").symlink_to(root / "m")
    (root / "m" / "up").symlink_to(root)
    (root / "m" / "again.png").symlink_to("a.png")
    (root / "n").symlink_to(outside)
    (root / "o").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (outside / "on").symlink_to(outside)
    (root / "p").symlink_to(root / "p")
    assert names_in(root) == ["m/a.png", "n/b.png"]
    assert notes_of(root) == (
        "7 links to images that were already read left out",
        "1 broken link left out",
    )


def test_links_that_lead_nowhere_are_no_images(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    for name in ("b.png", "cat"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    assert names_in(tmp_path) == ["a.png"]
    assert notes_of(tmp_path) == ("2 broken links left out",)


@pytest.mark.parametrize(
    ("hidden", "note"),
    [
        (["._a.png"], ("1 hidden file left out",)),
        (["._a.png", "cat/.thumbs/deep/a.jpg"], ("2 hidden files left out",)),
        ([".git/a.png", ".git/b.png", "cat/.c.png"], ("3 hidden files left out",)),
    ],
)
def test_hidden_files_and_folders_are_left_out_and_counted(
    tmp_path: Path, hidden: list[str], note: tuple[str, ...]
) -> None:
    for name in ("cat/a.png", "dog/b.png", *hidden):
        paint(tmp_path / name)
    (tmp_path / ".DS_Store").touch()  # would be no image in any case
    assert names_in(tmp_path) == ["cat/a.png", "dog/b.png"]
    assert notes_of(tmp_path) == note
    assert labels_of(tmp_path, transform=red) == [0, 1]


def test_a_hidden_folder_that_links_lead_into_is_read_through_them(tmp_path: Path) -> None:
    root = tmp_path / ".images"  # what lies above does not count
    for name in (".store/a.png", ".store/b.png", ".store/sub/c.png"):
        paint(root / name)
    (root / "a.png").symlink_to(".store/a.png")
    (root / "cat").symlink_to(".store/sub")
    assert names_in(root) == ["a.png", "cat/c.png"]
    assert notes_of(root)[0] == "1 hidden file left out"


def test_a_folder_of_hidden_files_only_has_no_images_and_says_why(tmp_path: Path) -> None:
    paint(tmp_path / ".a.png")
    with pytest.raises(InputError, match="no image files, got 1 hidden file left out; allowed"):
        Images(tmp_path)


def test_names_that_are_not_utf8_are_made_printable_and_keep_their_labels(tmp_path: Path) -> None:
    latin, literal = os.fsdecode(b"caf\xe9"), "caf\\xe9"
    try:
        files = [paint(tmp_path / name / "a.png") for name in (latin, literal, "dog")]
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    truncated(tmp_path / latin / "b.jpg")
    images = Images(tmp_path, transform=red, bad_images="skip")
    ((batch, labels),) = images
    assert sorted(images.class_names) == ["caf\\xe9", "caf\\xe9", "dog"]
    assert labels is not None
    assert len(batch) == len(set(labels.tolist())) == len(files)
    texts = (*images.class_names, images.description, *(skip.what for skip in images.skips))
    assert all(text.encode() for text in texts)
    with pytest.raises(InputError, match="broken image file") as info:
        list(Images(tmp_path, transform=red))
    assert r"caf\xe9/b.jpg" in info.value.where


def test_an_audit_of_a_folder_with_such_names_can_be_written(tmp_path: Path) -> None:
    latin = tmp_path / os.fsdecode(b"r\xe9sum\xe9s")
    try:
        for number in range(60):
            paint(latin / os.fsdecode(b"\xff") / f"{number}.png")
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    made = audit(nn.Conv2d(3, 2, 3, padding=1), latin)
    assert made.images["source"].endswith(r"r\xe9sum\xe9s")
    assert json.dumps(made.to_json(), ensure_ascii=False).encode()


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
    with pytest.raises(InputError, match=r"broken image file.*Repair or remove") as info:
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
