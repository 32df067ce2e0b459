"""Image files below a folder: links are followed once, hidden files are left out."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".heic", ".heif", ".jxl"),
)
"""Suffixes of image formats. A file that Pillow cannot read counts as broken: none is left out."""


class FileSearch:
    """The image files below a folder, by name, and what was left out.

    Folders and files that are links are followed. Whatever can be reached in several ways counts
    once, by its own name where that is below the folder: so links cannot form a loop.
    """

    def __init__(self, root: Path) -> None:
        self._found: dict[str, Path] = {}
        """By real path."""
        self._folders: set[str] = set()
        """Real paths of the folders that were entered."""
        self._links: list[Path] = []
        self._hidden: list[str] = []
        self._again = self._broken = self._unreadable = 0
        self._enter(root, os.path.realpath(root))
        for link in self._links:  # grows: there may be links in the folders that it leads to
            self._follow(link)
        self.files = sorted(self._found.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        hidden = sum(path not in self._found for path in self._hidden)
        left_out = (
            (hidden, "hidden file", ""),
            (self._again, "link", " to images that were already read"),
            (self._broken, "broken link", ""),
            (self._unreadable, "unreadable folder", ""),
        )
        return tuple(f"{n} {what}{'s' * (n != 1)}{to} left out" for n, what, to in left_out if n)

    def _enter(self, folder: Path, real: str, *, hidden: bool = False) -> None:
        """Take the files of a folder and of the folders in it; keep its links for later."""
        if real in self._folders:
            self._again += 1
            return
        if not hidden:  # a link may lead into a hidden folder
            self._folders.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            self._unreadable += not hidden
            return
        for entry in entries:
            is_hidden = hidden or entry.name.startswith(".")
            path, own = folder / entry.name, os.path.join(real, entry.name)  # noqa: PTH118
            if entry.is_symlink():
                self._links += [] if is_hidden else [path]
            elif entry.is_dir():
                self._enter(path, own, hidden=is_hidden)
            elif _is_image(entry.name) and entry.is_file():
                self._take(path, own, hidden=is_hidden)

    def _take(self, file: Path, real: str, *, hidden: bool) -> None:
        if hidden:
            self._hidden.append(real)
        else:
            self._found[real] = file

    def _follow(self, link: Path) -> None:
        real = os.path.realpath(link)
        if os.path.isdir(real):  # noqa: PTH112, raises nothing
            self._enter(link, real)
        elif not os.path.exists(real):  # noqa: PTH110
            self._broken += 1
        elif _is_image(link.name) and os.path.isfile(real):  # noqa: PTH113
            self._again += real in self._found
            self._found.setdefault(real, link)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES
