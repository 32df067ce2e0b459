"""Folders of image files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from pytest_pan.inputs.file_search import IMAGE_SUFFIXES, FileSearch
from pytest_pan.inputs.names import printable
from pytest_pan.inputs.pictures import Transform as Transform
from pytest_pan.inputs.pictures import to_rgb
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError

WHAT_IMAGES_CAN_BE = "a tensor (N, C, H, W), a Dataset, a DataLoader, or a folder of image files"


class ImageFolder:
    """Image files below a folder, by name; one level of class folders gives labels.

    Items are (image, label) or image alone: every picture is converted to RGB and goes through the
    ``transform``, if there is one. The EXIF orientation is ignored, as torchvision does. A broken
    file is a :class:`Skip` with ``skip_broken`` and else an :class:`InputError`.
    """

    def __init__(
        self, path: Path, transform: Transform | None = None, *, skip_broken: bool = False
    ) -> None:
        if not path.is_dir():
            raise InputError(
                "no such folder",
                where="images",
                got=printable(str(path)),
                allowed=WHAT_IMAGES_CAN_BE,
            )
        search = FileSearch(path)
        self.files, self.notes = search.files, search.notes
        if not self.files:
            raise InputError(
                "no image files",
                where=printable(str(path)),
                got=", ".join(self.notes),
                allowed="files ending in " + " ".join(IMAGE_SUFFIXES),
                next="Subfolders are searched; one folder per class gives labels.",
            )
        self._root, self._skip_broken = path, skip_broken
        self._transform = transform
        self._set_classes()

    def _set_classes(self) -> None:
        """Take the folders directly below the root as classes, unless files lie beside them or one
        has no images: if that is a class, the numbers of later classes would be wrong.
        """
        beside = [file.name for file in self.files if file.parent == self._root]
        folders = sorted({self._folder_of(f) for f in self.files if f.parent != self._root})
        others = len(beside) - 1
        more = f" and {others} other file{'s' * (others > 1)} lie" if others else " lies"
        stray = f"{printable(beside[0])}{more} beside the class folders" if beside else ""
        empty = [name for name in self._folders_below() if name not in folders]
        if empty and not beside:
            stray = f"the folder {printable(empty[0])} has no images; is it a class?"
        self._folders: list[str] = [] if stray else folders
        self.classes = [printable(name) for name in self._folders]
        """Names of the classes by number; empty without class folders."""
        if stray and folders:
            self.notes = (*self.notes, f"labels not used: {stray}")

    def _folders_below(self) -> list[str]:
        """Return the folders directly below the root, without links and hidden ones."""
        hidden = (".", "__")  # __MACOSX, __pycache__
        below = (entry for entry in os.scandir(self._root) if entry.is_dir(follow_symlinks=False))
        return sorted(entry.name for entry in below if not entry.name.startswith(hidden))

    @property
    def paths(self) -> list[Path]:
        """Paths of the files within the folder."""
        return [file.relative_to(self._root) for file in self.files]

    def _folder_of(self, file: Path) -> str:
        return file.relative_to(self._root).parts[0]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        file = self.files[index]
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:
                image = to_rgb(opened)
        except InputError as error:
            return self._unread(file, error.what, error.next.rstrip("."), error)
        except Exception as error:  # Pillow raises SyntaxError, ValueError, ... by format
            why = f"broken image file ({type(error).__name__}: {error})"
            return self._unread(file, printable(why), "Repair or remove it", error)
        try:
            made = image if self._transform is None else self._transform(image)
        except Exception as error:
            raise InputError(
                f"the transform raised {type(error).__name__}: {error}", where=printable(str(file))
            ) from error
        return (made, self._folders.index(self._folder_of(file))) if self._folders else made

    def _unread(self, file: Path, why: str, remedy: str, error: Exception) -> Skip:
        """Return the skip of a file that cannot be read, or raise where none may be skipped."""
        if self._skip_broken:
            return Skip(what=printable(str(file)), why=why)
        raise InputError(
            why,
            where=printable(str(file)),
            next=f"{remedy}, or let broken files be skipped (pan_bad_images = skip).",
        ) from error
