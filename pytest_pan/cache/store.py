"""Audits on disk, one file each, written atomically.

An entry is one npz file, ``STEM/IMAGES.npz``, in the cache's folder: its array ``json`` is the text
of a document, ``floats`` and ``integers`` hold that document's long lists. STEM is a digest of all
but the images, so that an audit of another model is known to be new before any image is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_pan.config.files import write_bytes
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import AuditError, InputError

FORMAT = 1
"""Format version of entries; others are not read."""
MOST = 100
"""Number of entries kept, most recently used first; entries of the current run always stay."""
_LONG = 12
"""Fewest numbers of a list that is stored as an array."""
_DAY = 86400.0
_PARTS = ("what", "where", "got", "allowed", "next")
"""Attributes of an error that are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An audit that failed in another process of this run."""

    error: AuditError
    of_images: bool
    """Whether the images caused the failure; otherwise the model did."""

    @property
    def images(self) -> Mapping[str, Any]:
        """Facts of the images read before the failure."""
        return self.error.audit.images if self.error.audit else {"count": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder of audits that processes and runs share; nothing in it is ever executed."""

    folder: Path
    run: str
    """Id of this pytest run; its own audits do not count as cached."""
    lasting: bool = True
    """Whether it outlives the run; otherwise only the xdist workers of the run share it."""
    troubles: list[str] = field(default_factory=list, compare=False)
    """Problems with entries. The requester warns about them after the audit is recorded: if
    warnings are errors, a warning from here would lose the audit.
    """

    @property
    def _failed(self) -> str:
        """Suffix of this run's failure files; a digest, because the run's id may be any text."""
        return f".{hashlib.sha256(self.run.encode()).hexdigest()[:16]}.failed"

    def names(self, stem: str) -> frozenset[str]:
        """Return the file names of a stem's entries, and of its failures in this run."""
        files = (*self._files(stem, "*.npz"), *self._files(stem, f"*{self._failed}"))
        return frozenset(path.name for path in files)

    def _files(self, stem: str, pattern: str) -> list[Path]:
        with suppress(OSError):
            return list((self.folder / stem).glob(pattern))
        return []

    def find(self, stem: str, name: str) -> Audit | None:
        """Return the audit of an entry; None if there is none. A damaged entry is removed and
        recorded in ``troubles``.
        """
        path = self.folder / stem / f"{name}.npz"
        try:
            audit = _unpacked(path.read_bytes(), [FORMAT, stem, name], self.run)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is wrong with it, it is of no use
            with suppress(OSError):
                path.unlink()
            self.troubles.append(
                f"{path} in the cache cannot be read ({type(error).__name__}: {error}): it was "
                "removed, and the audit ran again"
            )
            return None
        with suppress(OSError):
            os.utime(path)
        return audit

    def keep(self, stem: str, name: str, audit: Audit) -> None:
        """Write an entry; record a problem if that fails."""
        path = self.folder / stem / f"{name}.npz"
        try:
            write_bytes(path, _packed(audit, [FORMAT, stem, name], self.run))
        except OSError as error:
            self.troubles.append(f"the audit is not cached: {error}")

    def note_failure(self, stem: str, error: AuditError) -> None:
        """Record a failed audit, so that the processes of this run that wait for it do not repeat
        it one after the other.
        """
        body = {
            "by": os.getpid(),
            "error": {part: getattr(error, part) for part in _PARTS},
            "audit": error.audit.to_json() if error.audit else None,
            "of_images": isinstance(error.__cause__, InputError),
        }
        data = json.dumps(body).encode()
        name = hashlib.sha256(data).hexdigest() + self._failed
        with suppress(OSError):
            write_bytes(self.folder / stem / name, data)

    def failures(self, stem: str) -> Iterator[Failure]:
        """Yield the failures of other processes of this run; this process may retry its own."""
        for path in self._files(stem, f"*{self._failed}"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # gone, or not whole
                body = json.loads(path.read_bytes())
                if body["by"] == os.getpid() or body["audit"] is None:
                    continue
                error = AuditError(**body["error"])
                error.audit = table.read_audit(body["audit"])
                yield Failure(error=error, of_images=body["of_images"])

    @contextmanager
    def turn(self, stem: str) -> Iterator[None]:
        """Wait until no other process makes an audit of the stem, and hold its lock. A process that
        dies releases it; without file locking, nobody waits.
        """
        from filelock import FileLock

        folder = self.folder / stem
        lock = FileLock(folder / "lock")
        with suppress(OSError, NotImplementedError):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(poll_interval=0.05)
        try:
            yield
        finally:
            lock.release()

    def prune(self, since: float) -> None:
        """Remove all entries but those used after ``since`` (the start of a run) and the most
        recent ones; also failures, temporary files of killed writers, and empty folders.

        Call it at the end of a run: earlier, a run that uses more entries than are kept would lose
        each one just before its request.
        """
        used = {path: _used(path) for path in self.folder.glob("*/*.npz")}
        last = sorted(used, key=used.__getitem__, reverse=True)
        old = [path for path in last[MOST:] if used[path] < since]
        leftovers = self.folder.glob("*/.*.tmp")
        old += [path for path in leftovers if _used(path) < time.time() - _DAY]
        for path in (*old, *self.folder.glob("*/*.failed")):
            with suppress(OSError):
                path.unlink()
        for folder in self.folder.glob("*/"):
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove a folder that has only a lock, which nobody holds."""
    from filelock import Timeout

    with suppress(OSError, Timeout, NotImplementedError):
        if {path.name for path in folder.iterdir()} <= {"lock"}:
            with _free(folder / "lock"):
                if {path.name for path in folder.iterdir()} == {"lock"}:
                    (folder / "lock").unlink()
                    folder.rmdir()


@contextmanager
def _free(lock: Path) -> Iterator[None]:
    """Hold a lock; raise Timeout if another process holds it."""
    from filelock import FileLock

    with FileLock(lock, timeout=0):
        yield


def _used(path: Path) -> float:
    """Return when a file was last used, in seconds since the epoch."""
    try:
        return path.stat().st_mtime
    except OSError:  # another process was quicker
        return time.time()


def _packed(audit: Audit, header: list[Any], run: str) -> bytes:
    import numpy as np

    floats: list[float] = []
    integers: list[int] = []
    body = _shortened(audit.to_json(), floats, integers)
    text = json.dumps({"header": header, "run": run, "audit": body})
    file = io.BytesIO()
    np.savez_compressed(
        file,
        json=np.frombuffer(text.encode(), dtype=np.uint8),
        floats=np.array(floats, dtype=np.float64),
        integers=np.array(integers, dtype=np.int64),
    )
    return file.getvalue()


def _unpacked(data: bytes, header: list[Any], run: str) -> Audit:
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        document = json.loads(arrays["json"].tobytes())
        lists = {"$floats": arrays["floats"].tolist(), "$integers": arrays["integers"].tolist()}
    if document["header"] != header:
        raise ValueError("an entry of something else")
    audit = table.read_audit(_lengthened(document["audit"], lists))
    return replace(audit, cached=document["run"] != run)


def _shortened(value: Any, floats: list[float], integers: list[int]) -> Any:
    """Return the document with each long list of numbers replaced by its place in the arrays."""
    if isinstance(value, dict):
        return {key: _shortened(item, floats, integers) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    for name, kind, array in (("$floats", float, floats), ("$integers", int, integers)):
        fits = len(value) >= _LONG and all(type(item) is kind for item in value)
        if fits and (kind is float or max(map(abs, value)) < 2**63):
            array += value
            return {name: [len(array) - len(value), len(array)]}
    return [_shortened(item, floats, integers) for item in value]


def _lengthened(value: Any, lists: dict[str, list[Any]]) -> Any:
    if isinstance(value, list):
        return [_lengthened(item, lists) for item in value]
    if not isinstance(value, dict):
        return value
    for name, array in lists.items():
        place = value.get(name)
        if len(value) == 1 and isinstance(place, list):
            return array[place[0] : place[1]]
    return {key: _lengthened(item, lists) for key, item in value.items()}
