"""Audits kept on disk by what they are of: each made once, whole or not there, the newest kept.

An entry is one npz file, ``STEM/IMAGES.npz``, in the cache's folder: its array ``json`` is the text
of a document, ``floats`` and ``integers`` hold that document's long lists. STEM is all but the
images; so an audit of another model is known to be new before any image is read.
"""

from __future__ import annotations

import io
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_pan.errors import PanWarning
from pytest_pan.records import Audit
from pytest_pan.report.files import write_bytes

FORMAT = 1
"""Of the entries; one of another number is not read."""
MOST = 100
"""Entries that are kept, those used last."""
_LONG = 12
"""Numbers that a list must have to be kept as an array."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A folder of audits that processes and runs share; nothing in it is ever executed."""

    folder: Path
    run: str
    """Identifies this run of pytest: what it has made itself does not count as cached."""
    lasting: bool = True
    """Whether it outlives the run; else it only lets xdist's workers share."""

    def names(self, stem: str) -> frozenset[str]:
        """The entries of a stem."""
        with suppress(OSError):
            return frozenset(path.stem for path in (self.folder / stem).glob("*.npz"))
        return frozenset()

    def find(self, stem: str, name: str) -> Audit | None:
        """The audit of that entry; None where there is none. An entry that is not whole is
        removed, with a :class:`PanWarning`.
        """
        path = self.folder / stem / f"{name}.npz"
        try:
            audit = _unpacked(path.read_bytes(), [FORMAT, stem, name], self.run)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is wrong with it, it is of no use
            with suppress(OSError):
                path.unlink()
            warnings.warn(
                f"{path} in the cache is broken ({type(error).__name__}: {error}): it is removed, "
                "and the audit made anew",
                PanWarning,
                stacklevel=2,
            )
            return None
        with suppress(OSError):
            os.utime(path)
        return audit

    def keep(self, stem: str, name: str, audit: Audit) -> None:
        """Writes an entry; a :class:`PanWarning` where that cannot be done."""
        path = self.folder / stem / f"{name}.npz"
        try:
            write_bytes(path, _packed(audit, [FORMAT, stem, name], self.run))
        except OSError as error:
            warnings.warn(f"the audit is not cached: {error}", PanWarning, stacklevel=2)
        self._prune()

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

    def _prune(self) -> None:
        """Leaves the entries used last, and nothing of writers that were killed."""
        from filelock import Timeout

        entries = {path: _age(path) for path in self.folder.glob("*/*.npz")}
        old = sorted(entries, key=entries.__getitem__)[MOST:]
        old += [path for path in self.folder.glob("*/.*.tmp") if _age(path) > _DAY]
        for path in old:
            with suppress(OSError):
                path.unlink()
        for folder in {path.parent for path in old}:
            with suppress(OSError, Timeout, NotImplementedError), _free(folder / "lock"):
                if {path.name for path in folder.iterdir()} <= {"lock"}:
                    (folder / "lock").unlink(missing_ok=True)
                    folder.rmdir()


@contextmanager
def _free(lock: Path) -> Iterator[None]:
    """Holds a lock that nobody else holds; raises Timeout if somebody does."""
    from filelock import FileLock

    with FileLock(lock, timeout=0):
        yield


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process was quicker
        return 0.0


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
    audit = Audit.from_json(_lengthened(document["audit"], lists))
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
