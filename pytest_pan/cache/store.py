"""Audits kept on disk by what they are of: each made once, whole or not there.

An entry is one npz file, ``STEM/IMAGES.npz``, in the cache's folder: its array ``json`` is the text
of a document, ``floats`` and ``integers`` hold that document's long lists. STEM is all but the
images; so an audit of another model is known to be new before any image is read.
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
"""Of the entries; one of another number is not read."""
MOST = 100
"""Entries that are kept, those used last; those of a run that uses more are kept all the same."""
_LONG = 12
"""Numbers that a list must have to be kept as an array."""
_DAY = 86400.0
_PARTS = ("what", "where", "got", "allowed", "next")
"""Of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """By what an audit has ended in another process of this run."""

    error: AuditError
    of_images: bool
    """Whether the images were no good, or what came of them; else the model raised."""

    @property
    def images(self) -> Mapping[str, Any]:
        """The facts of the images that had been read."""
        return self.error.audit.images if self.error.audit else {"count": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder of audits that processes and runs share; nothing in it is ever executed."""

    folder: Path
    run: str
    """Identifies this run of pytest: what it has made itself does not count as cached."""
    lasting: bool = True
    """Whether it outlives the run; else it only lets xdist's workers share."""
    troubles: list[str] = field(default_factory=list, compare=False)
    """What went wrong with entries. Whoever asked for an audit warns of it once that is safe:
    where warnings are errors, one from in here would cost the audit.
    """

    @property
    def _failed(self) -> str:
        """How the names of this run's failures end; its own name may be any text."""
        return f".{hashlib.sha256(self.run.encode()).hexdigest()[:16]}.failed"

    def names(self, stem: str) -> frozenset[str]:
        """The entries of a stem, and the failures of this run."""
        files = (*self._files(stem, "*.npz"), *self._files(stem, f"*{self._failed}"))
        return frozenset(path.name for path in files)

    def _files(self, stem: str, pattern: str) -> list[Path]:
        with suppress(OSError):
            return list((self.folder / stem).glob(pattern))
        return []

    def find(self, stem: str, name: str) -> Audit | None:
        """The audit of that entry; None where there is none. An entry that is not whole is
        removed, and said among the troubles.
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
                f"{path} in the cache is broken ({type(error).__name__}: {error}): it is removed, "
                "and the audit made anew"
            )
            return None
        with suppress(OSError):
            os.utime(path)
        return audit

    def keep(self, stem: str, name: str, audit: Audit) -> None:
        """Writes an entry; one of the troubles where that cannot be done."""
        path = self.folder / stem / f"{name}.npz"
        try:
            write_bytes(path, _packed(audit, [FORMAT, stem, name], self.run))
        except OSError as error:
            self.troubles.append(f"the audit is not cached: {error}")

    def note_failure(self, stem: str, error: AuditError) -> None:
        """Lets other processes of this run know that an audit has failed, and by what: those who
        wait for their turn at it would come to the same end one after the other.
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
        """Those of this run's other processes; what has failed in this one may be tried again."""
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
        """Waits until no other process is making an audit of the stem. A process that dies
        gives its turn back; where files cannot be locked nobody waits.
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
        """Leaves the entries used since then (a run's start), and of others those used last;
        nothing of writers that were killed, of failures, and of models without an entry.

        When a run is over, not before: of a run that uses more entries than are kept, each would
        go just before it is asked for.
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
    """A folder that has nothing but a lock, which nobody holds."""
    from filelock import Timeout

    with suppress(OSError, Timeout, NotImplementedError):
        if {path.name for path in folder.iterdir()} <= {"lock"}:
            with _free(folder / "lock"):
                if {path.name for path in folder.iterdir()} == {"lock"}:
                    (folder / "lock").unlink()
                    folder.rmdir()


@contextmanager
def _free(lock: Path) -> Iterator[None]:
    """Holds a lock that nobody else holds; raises Timeout if somebody does."""
    from filelock import FileLock

    with FileLock(lock, timeout=0):
        yield


def _used(path: Path) -> float:
    """When a file was last used, as seconds since the epoch."""
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
    """The document with each long list of numbers replaced by where it stands in the arrays."""
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
