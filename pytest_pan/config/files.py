"""Write text files: atomically, or appended to an existing file."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path


def why_not_writable(path: Path) -> str:
    """Return why a file cannot be written to this path; empty if it can."""
    if path.is_dir():
        return f"{path} is a directory, not a file"
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a directory"
    return "" if os.access(folder, os.W_OK) else f"{folder} is not writable"


def write_text(path: Path, text: str) -> None:
    """Write a text with :func:`write_bytes`.

    Characters without UTF-8 encoding, which file names can contain, are written as escapes.
    """
    write_bytes(path, _encode(text))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary file that then replaces it. Raises OSError.

    A killed run leaves the old file intact, and a temporary one, which the next writer of the same
    file removes. Follows links; writes directly to a device or a pipe.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of this file whose writers are gone."""
    name = re.compile(rf"\.{re.escape(path.name)}\.([0-9]{{1,20}})\.tmp")
    with suppress(OSError):
        for other in path.parent.iterdir():
            found = name.fullmatch(other.name)
            if found and not _runs(int(found[1])):
                with suppress(OSError):
                    other.unlink()


def _runs(process: int) -> bool:
    """Return whether a process of this machine runs; true where that cannot be known."""
    if os.name != "posix":  # elsewhere, the call below would end the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def append_text(path: Path, text: str) -> None:
    """Append a text to a file, on a new line and in a single write. Raises OSError.

    For files shared with other programs, such as a CI job's summary.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    separator = b"" if _ends_in_newline(path) else b"\n"
    with path.open("ab") as file:
        file.write(separator + _encode(text))


def _ends_in_newline(path: Path) -> bool:
    """Return whether a file ends in a newline; true for an empty file or a pipe."""
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
