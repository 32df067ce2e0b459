"""Folders of image files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
WHAT_IMAGES_CAN_BE = "a tensor (N, C, H, W), a Dataset, a DataLoader, or a folder of image files"

Transform = Callable[[Any], Tensor]


class ImageFolder:
    """Image files below a folder, by name; one level of class folders gives labels.

    Items are (image, label) or image alone; a broken file is a :class:`Skip` where that is
    allowed and an :class:`InputError` that names it where it is not.
    """

    def __init__(self, path: Path, transform: Transform, *, skip_broken: bool = False) -> None:
        if not path.is_dir():
            raise InputError(
                "no such folder", where="images", got=str(path), allowed=WHAT_IMAGES_CAN_BE
            )
        files = sorted(
            p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
        )
        if not files:
            raise InputError(
                "no image files",
                where=str(path),
                allowed="files ending in " + " ".join(IMAGE_SUFFIXES),
                next="Subfolders are searched; one a class gives labels.",
            )
        self.files, self._transform, self._skip_broken = files, transform, skip_broken
        nested = all(file.parent != path for file in files)
        folders = {file.relative_to(path).parts[0] for file in files} if nested else set()
        self.classes: list[str] = sorted(folders)
        self._root = path

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        file = self.files[index]
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:
                image = opened.convert("RGB")
        except Exception as error:  # Pillow raises SyntaxError, ValueError, ... by format
            why = f"broken image file ({type(error).__name__}: {error})"
            if self._skip_broken:
                return Skip(what=str(file), why=why)
            raise InputError(
                why,
                where=str(file),
                next="Mend or remove it, or let broken files be skipped (pan_bad_images = skip).",
            ) from error
        try:
            tensor = self._transform(image)
        except Exception as error:
            raise InputError(
                f"the transform raised {type(error).__name__}: {error}", where=str(file)
            ) from error
        if not self.classes:
            return tensor
        return tensor, self.classes.index(file.relative_to(self._root).parts[0])


def imagenet_transform() -> Transform:
    """What a folder's images go through when no transform is given: torchvision's evaluation
    preset for ImageNet (resize 256, centre crop 224, mean and deviation of ImageNet).
    """
    from torchvision import transforms

    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    compose: Transform = transforms.Compose(steps)
    return compose
