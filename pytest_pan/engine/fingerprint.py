"""The fingerprint of an audit's inputs: what the network computes on a few of the images.

Whether two audits would be the same cannot be read off code. So the network runs on three images,
and the bytes that every convolution and the outputs give go into a digest, with the weights and the
images themselves. Whatever changed, if it matters on those images it changes the digest. A network
whose results depend on the time or on unseeded draws never matches itself; a false mismatch costs
one audit, never a wrong figure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytest_pan.engine.source_files import digests_of_sources
from pytest_pan.inputs.digests import model_digest, raw_bytes
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.larger import LargeImages
from pytest_pan.inputs.samples import code_of, digest_contents, sample
from pytest_pan.inputs.values import digest_modules, digest_values
from pytest_pan.instrument import devices
from pytest_pan.instrument.gate import borrowed, kept_randomness
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.audit import Settings

_NOT_OF_FIGURES = ("device", "workers")
"""Settings that say where an audit runs, not what it finds."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of what decides an audit; empty where they cannot be taken."""

    network: str = ""
    """What the network computes on the sampled images, its weights and attributes, settings, code
    and names: for the cache, and to tell audits of one name apart."""
    computed: str = ""
    """The same without attributes, and the numerical switches: for audits of one run."""
    held: str = ""
    """What the model, the transform, the function that picks outputs and the source of the images
    hold, and its files: for audits of one run."""


def fingerprint(
    model: nn.Module,
    images: Images,
    *,
    settings: Settings,
    transform: object = None,
    pick: Callable[[Any], Any] | None = None,
    large_images: object = None,
    names: Iterable[str] = (),
) -> Fingerprint:
    """Take the fingerprint; ``names`` are of the model and its classes, ``pick`` picks outputs.

    An error of the model's, or in reading an image, is part of the digest: the audit meets it
    again.
    """
    network = hashlib.sha256()
    chosen = {k: v for k, v in settings.to_json().items() if k not in _NOT_OF_FIGURES}
    chosen["groups"] = images.groups
    network.update(json.dumps([chosen, list(names)], sort_keys=True).encode())
    code = [*map(type, model.modules()), *code_of(images), transform, pick]
    network.update(b"".join(digests_of_sources(each for each in code if each is not None)))
    with _noting_errors(network.update):
        network.update(model_digest(model).encode())
    _digest_larger(large_images, settings.seed, network.update)
    attributes = _attributes(model, pick)
    _digest_computation(model, images, settings, pick, network.update)
    computed = network.copy()
    computed.update(f"{devices.arithmetic()} {torch.get_default_dtype()}".encode())
    network.update(attributes.encode())
    held = attributes + _contents(images, transform)
    return Fingerprint(network.hexdigest(), computed.hexdigest(), held)


def held(
    model: nn.Module, images: Images, *, transform: object, pick: Callable[[Any], Any] | None
) -> str:
    """Return :attr:`Fingerprint.held` of now."""
    return _attributes(model, pick) + _contents(images, transform)


def _digest_larger(given: object, seed: int, update: Callable[[Any], None]) -> None:
    if given is None:
        return
    with _noting_errors(update), kept_randomness(seed):
        for batch in LargeImages(given, seed=seed):
            digest_values(batch, update)


def _attributes(model: nn.Module, pick: Callable[[Any], Any] | None) -> str:
    found = hashlib.sha256()
    with _noting_errors(found.update):
        digest_modules(model, found.update)
        digest_values(pick, found.update)
    return found.hexdigest()


def _contents(images: Images, transform: object) -> str:
    found = hashlib.sha256()
    with _noting_errors(found.update):
        digest_contents(images, found.update)
        digest_values(transform, found.update)
    return found.hexdigest()


def _digest_computation(
    model: nn.Module,
    images: Images,
    settings: Settings,
    pick: Callable[[Any], Any] | None,
    update: Callable[[Any], None],
) -> None:
    """Run the model on the sampled images on one thread: other numbers of threads give other last
    bits. Images of one shape run as one batch, which some networks treat differently.
    """

    def see(call: ConvCall) -> None:
        update(repr(call.site()).encode())
        update(raw_bytes(call.output))

    def passed_over(name: str, why: str) -> None:
        update(f"{name} {why}".encode())

    with _noting_errors(update), _one_thread():
        samples = sample(images, seed=settings.seed)
        alike = len({(image.shape, image.dtype) for image in samples}) == 1
        place = next((t.device for t in (*model.parameters(), *model.buffers())), None)
        with borrowed(model, seed=settings.seed, device=place or torch.device("cpu")) as ready:
            for batch in [torch.stack(samples)] if alike else [image[None] for image in samples]:
                digest_values(batch, update)
                with _noting_errors(update), tapped(Tap(model, see, passed_over)) as tap:
                    tap.begin(len(batch))
                    output = ready(batch.clone().to(place or "cpu"))
                    digest_values(output if pick is None else pick(output), update)


@contextmanager
def _noting_errors(update: Callable[[Any], None]) -> Iterator[None]:
    """Let an error count as a result: the audit meets it again and reports it."""
    try:
        yield
    except Exception as error:
        update(f"{type(error).__name__}: {error}".encode(errors="backslashreplace"))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
