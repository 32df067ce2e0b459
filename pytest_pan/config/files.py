"""Writing a report: whole or not at all, or behind what a file has already."""

from __future__ import annotations

import os
from pathlib import Path


def why_not_writable(path: Path) -> str:
    """What stands in the way of writing there, found before the work is done; empty if nothing."""
    if path.is_dir():
        return f"{path} is a directory, name a file"
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a directory"
    return "" if os.access(folder, os.W_OK) else f"{folder} is not writable"


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` of a text; characters that have no UTF-8 (file names can hold such)
    are written as escapes.
    """
    write_bytes(path, _bytes(text))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes beside the target and moves it into place, so that a killed run leaves the old
    file whole; follows links, and writes into a device or a pipe as it is. Raises OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Adds the text behind what the file holds, on a line of its own and in one write: a summary
    that a CI system collects is shared with other steps, and must not be replaced. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    gap = b"" if _ends_in_newline(path) else b"\n"
    with path.open("ab") as file:
        file.write(gap + _bytes(text))


def _ends_in_newline(path: Path) -> bool:
    """Also where there is nothing yet, or no end to look at: a pipe."""
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
