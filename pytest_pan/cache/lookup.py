"""An audit from the cache, or made and kept: what must be the same for it to be the same audit."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from pytest_pan.cache.store import Cache, Failure
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.samples import facts_of_all
from pytest_pan.instrument import devices
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.errors import AuditError


def recall(
    cache: Cache,
    images: object,
    source: Images,
    *,
    fingerprint: str,
    settings: Settings,
    compute: Callable[[], Audit],
) -> Audit:
    """Return an earlier audit of the very same inputs, or the one that ``compute`` makes.

    The same are the fingerprint, every image and label of ``source`` as it comes out of the
    transform, versions, hardware and all code of this package. Of several processes that ask at
    once one computes. Images that cannot be read twice are not cached, and a note says so. Of an
    audit that failed only its error is kept, for the processes of this run that wait for the same.
    """
    if why := _why_not(images, source):
        audit = compute()
        notes = (f"not cached: {why}",) if cache.lasting else ()
        return replace(audit, notes=(*audit.notes, *notes))
    return _turns(cache, _Request(source, fingerprint, settings), compute)


def _turns(cache: Cache, request: _Request, compute: Callable[[], Audit]) -> Audit:
    """Look up, and compute only in a turn before which no other process has made an entry.

    Raises the error with which another process's audit of the same has ended.
    """
    while True:
        known = cache.names(request.stem)
        if known and (found := request.find(cache)):
            return found
        with cache.turn(request.stem):
            if cache.names(request.stem) - known:
                continue
            try:
                audit = compute()
            except AuditError as error:
                cache.note_failure(request.stem, error)
                raise
            cache.keep(request.stem, entry(audit.images), audit)
            return audit


class _Request:
    """An audit that may be in the cache: all but the images names a stem, the images an entry."""

    def __init__(self, source: Images, fingerprint: str, settings: Settings) -> None:
        self._source, self._seed = source, settings.seed
        device = devices.resolve_device(settings.device)
        parts = (
            fingerprint,
            _method(),
            hardware(settings.device, device, devices.facts(device)),
            devices.arithmetic(),
            source.workers,
        )
        self.stem = _digest(parts)
        self._facts: dict[str, Any] = {}
        self._is_whole = False

    def find(self, cache: Cache) -> Audit | None:
        """The cache's audit of these very images, which are read once for that; raises the error
        that it has ended with.
        """
        if not self._facts:
            self._read()
        if self._is_whole and (audit := cache.find(self.stem, entry(self._facts))):
            return audit if set(self._source.skips) <= set(audit.skips) else None
        for failure in cache.failures(self.stem):
            if self._fails_by(failure):
                raise failure.error
        return None

    def _read(self) -> None:
        self._facts = facts_of_all(self._source, seed=self._seed)
        self._is_whole = self._facts.pop("complete")

    def _fails_by(self, failure: Failure) -> bool:
        """Whether the same would come of these images: they begin as those that it had read, and,
        where it could not be read on, end there too.
        """
        count = failure.images["count"]
        same = count and self._source.facts(count) == failure.images
        return bool(same and (count == self._facts["count"] or not failure.of_images))


def hardware(asked: str, device: torch.device, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit is computed on, of several GPUs of a kind any, unless one is asked for by
    its number: xdist's workers, who have one each, share their audits.
    """
    any_of_them = device.type == "cuda" and ":" not in asked
    return {**facts, "device": device.type if any_of_them else facts["device"]}


def entry(images: Mapping[str, Any]) -> str:
    """The name of the entry of an audit of these images, as :meth:`Images.facts` tells them."""
    return _digest(dict(images))


def _why_not(images: object, source: Images) -> str:
    """Say why an audit of these images cannot be cached; empty if it can."""
    if isinstance(getattr(images, "dataset", images), IterableDataset):
        return "the images are a stream"
    if source.expected is None:
        return "the source of the images does not say how many there are"
    if isinstance(images, DataLoader):
        batches = images.batch_sampler
        samplers = (images, images.sampler, batches, getattr(batches, "sampler", None))
        if any(getattr(each, "generator", None) is not None for each in samplers):
            return "the images are drawn by a generator that the loader has of its own"
    return ""


def _digest(thing: object) -> str:
    text = json.dumps(thing, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _method() -> tuple[str, ...]:
    """The version of the method: of all code of this package, and of what it computes with."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest(), *(_version(name) for name in ("scipy", "numba"))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
