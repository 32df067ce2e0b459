"""Look up an audit in the cache, or make and store it."""

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
    """Return the cached audit of the same inputs, or the one that ``compute`` makes.

    Inputs are the same if the fingerprint, every transformed image and label of ``source``,
    versions, hardware and the code of this package are. Of several processes with the same request
    one computes. Images that cannot be read twice are not cached, and a note says so. Of an
    audit that failed only its error is kept, for the processes of this run that wait for the same.
    """
    if why := _why_not(images, source):
        audit = compute()
        notes = (f"not cached: {why}",) if cache.lasting else ()
        return replace(audit, notes=(*audit.notes, *notes))
    return _turns(cache, _Request(source, fingerprint, settings), compute)


def _turns(cache: Cache, request: _Request, compute: Callable[[], Audit]) -> Audit:
    """Look up the audit; compute it under the lock if no other process has stored one.

    Raises the error of another process whose audit of the same inputs has failed.
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
    """A lookup: a stem stands for everything except the images, an entry for the images."""

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
        """Return the cached audit of these images, which are read once for this. Raises the
        recorded error if it has failed.
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
        """Return whether these images would fail in the same way: they start with the images that
        the failed audit had read, and end there too if reading has failed.
        """
        count = failure.images["count"]
        same = count and self._source.facts(count) == failure.images
        return bool(same and (count == self._facts["count"] or not failure.of_images))


def hardware(asked: str, device: torch.device, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of the hardware, without the number of the GPU unless it was requested:
    xdist workers on equal GPUs share their audits.
    """
    any_of_them = device.type == "cuda" and ":" not in asked
    return {**facts, "device": device.type if any_of_them else facts["device"]}


def entry(images: Mapping[str, Any]) -> str:
    """Return the entry's name, given the facts of the images (:meth:`Images.facts`)."""
    return _digest(dict(images))


def _why_not(images: object, source: Images) -> str:
    """Return why an audit of these images cannot be cached; empty if it can."""
    if isinstance(getattr(images, "dataset", images), IterableDataset):
        return "the images are an IterableDataset, which can be read only once"
    if source.expected is None:
        return "the source of the images has no length"
    if isinstance(images, DataLoader):
        batches = images.batch_sampler
        samplers = (images, images.sampler, batches, getattr(batches, "sampler", None))
        if any(getattr(each, "generator", None) is not None for each in samplers):
            return "the DataLoader draws the images with a generator of its own"
    return ""


def _digest(thing: object) -> str:
    text = json.dumps(thing, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _method() -> tuple[str, ...]:
    """Return a digest of the code of this package and the versions of scipy and numba."""
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
