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
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from pytest_pan.cache.identity import identity
from pytest_pan.cache.reach import OpaqueError
from pytest_pan.cache.store import Cache, Failure
from pytest_pan.inputs.folders import Transform
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.models import class_names, load_model, name_of
from pytest_pan.instrument import devices as environment
from pytest_pan.instrument.gate import kept_randomness
from pytest_pan.probes.outputs import Pick
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.errors import AuditError

Compute = Callable[[object, str], Audit]
"""Makes the audit of a model under a name."""


def recall(
    cache: Cache,
    model: object,
    images: object,
    *,
    settings: Settings,
    compute: Compute,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    outputs: Pick | None = None,
    classes: object = None,
) -> Audit:
    """The audit of that model on those images: an earlier one of the very same, or by ``compute``.

    The same are weights, code and attributes of the model, every image and label as it comes out
    of the transform, settings, class names, versions and device. Of several processes that ask
    at once one computes. What cannot be told for certain is computed and not kept, and a note says
    so. Of an audit that failed nothing is kept but its error, for the processes of this run that
    wait for the same.
    """
    try:
        loaded = load_model(model, arguments)
    except Exception:  # the audit says it as its own error
        return compute(model, name)
    name = name_of(model, loaded, name)
    try:
        asked = _Asked(loaded, images, settings, transform, name, outputs, classes)
    except OpaqueError as error:
        audit = compute(loaded, name)
        said = (f"not cached: {error}",) if cache.lasting else ()
        return replace(audit, notes=(*audit.notes, *said))
    except Exception:
        return compute(loaded, name)
    return _turns(cache, asked, lambda: compute(loaded, name))


def _turns(cache: Cache, asked: _Asked, compute: Callable[[], Audit]) -> Audit:
    """Looks, and computes only in a turn before which nothing has come since the last look.
    Raises the error by which another process's audit of the same has ended.
    """
    while True:
        there = cache.names(asked.stem)
        if there and (found := asked.found(cache)):
            return found
        with cache.turn(asked.stem):
            if cache.names(asked.stem) - there:
                continue
            try:
                audit = compute()
            except AuditError as error:
                cache.note_failure(asked.stem, error)
                raise
            cache.keep(asked.stem, entry(audit.images), audit)
            return audit


class _Asked:
    """What an audit is asked of. Raises :class:`OpaqueError` where that cannot be told."""

    def __init__(
        self,
        model: nn.Module,
        images: object,
        settings: Settings,
        transform: Transform | None,
        name: str,
        outputs: Pick | None,
        classes: object,
    ) -> None:
        _refuse_unrepeatable(images)
        device = environment.resolve_device(settings.device)
        self._source = Images(
            images,
            transform=transform,
            batch_size=settings.batch_size,
            bad_images=settings.bad_images,
            seed=settings.seed,
            workers=settings.workers,
            device=device,
        )
        if self._source.expected is None:
            raise OpaqueError("images", "come from a source that does not say how many there are")
        self._seed = settings.seed
        parts = (
            _method(),
            hardware(settings.device, device, environment.facts(device)),
            environment.arithmetic(),
            _identity(model, outputs),
            name,
            class_names(classes, self._source.class_names),
            {**settings.to_json(), "device": "", "workers": self._source.workers},
        )
        self.stem = _digest(parts)
        self._facts: dict[str, Any] = {}
        self._whole = False

    def found(self, cache: Cache) -> Audit | None:
        """The cache's audit of these very images, which are read once for that; raises the error
        that it has ended with.
        """
        if not self._facts:
            self._read()
        if self._whole and (audit := cache.find(self.stem, entry(self._facts))):
            return audit if set(self._source.skips) <= set(audit.skips) else None
        for failure in cache.failures(self.stem):
            if self._fails_by(failure):
                raise failure.error
        return None

    def _read(self) -> None:
        try:
            with kept_randomness(self._seed), torch.no_grad():  # as in the gate
                for _ in self._source:
                    pass
            self._whole = True
        except Exception:  # the audit says it as its own error
            self._source.close()
        self._facts = self._source.facts()

    def _fails_by(self, failure: Failure) -> bool:
        """Whether the same would come of these images: they begin as those that it had read, and,
        where it could not be read on, end there too.
        """
        count = failure.images["count"]
        same = count and self._source.facts(count) == failure.images
        return bool(same and (count == self._facts["count"] or not failure.of_images))


def _identity(*things: object) -> str:
    try:
        return identity(*things)
    except OpaqueError:
        raise
    except Exception as error:  # what a user's class does when it is looked at
        why = f"raised {type(error).__name__} when it was looked into: {error}"
        raise OpaqueError("model", why) from error


def hardware(asked: str, device: torch.device, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit is computed on, of several GPUs of a kind any, unless one is asked for by
    its number: xdist's workers, who have one each, share their audits.
    """
    any_of_them = device.type == "cuda" and ":" not in asked
    return {**facts, "device": device.type if any_of_them else facts["device"]}


def entry(images: Mapping[str, Any]) -> str:
    """The name of the entry of an audit of these images, as :meth:`Images.facts` tells them."""
    return _digest(dict(images))


def _refuse_unrepeatable(images: object) -> None:
    """Raises for images that looking at would change, or that come but once."""
    if isinstance(images, IterableDataset):
        raise OpaqueError("images", "are a stream")
    if not isinstance(images, DataLoader):
        return
    if isinstance(images.dataset, IterableDataset):
        raise OpaqueError("images", "are a stream")
    samplers = (images.sampler, images.batch_sampler, getattr(images.batch_sampler, "sampler", 0))
    if any(getattr(each, "generator", None) is not None for each in (images, *samplers)):
        raise OpaqueError("images", "are drawn by a generator that the loader has of its own")


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
