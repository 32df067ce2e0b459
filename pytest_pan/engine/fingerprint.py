"""The fingerprint of an audit's inputs: what the network computes on a few of the images.

Whether two audits would be the same cannot be read off code. So the network runs on three images,
and the bytes that every convolution and the outputs give go into a digest, with the weights and the
images themselves. Whatever changed, if it matters on those images it changes the digest. A network
whose results depend on the time or on unseeded draws never matches itself; a false mismatch costs
one audit, never a wrong figure.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pytest_pan.inputs.digests import model_digest, raw_bytes
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.samples import code_of, digest_contents, sample
from pytest_pan.inputs.values import digest_modules, digest_values
from pytest_pan.instrument.gate import borrowed
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.audit import Settings

_NOT_OF_FIGURES = ("device", "workers")
"""Settings that say where an audit runs, not what it finds."""
_LARGEST_SOURCE = 1 << 22
"""Bytes of a source file; larger ones are data."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of what decides an audit; empty where they cannot be taken."""

    network: str = ""
    """What the network computes on the sampled images, its weights and attributes, settings, code
    and names: for the cache, and to tell audits of one name apart."""
    images: str = ""
    """What the source of the images holds, and its files: for audits of one run."""


def fingerprint(
    model: nn.Module,
    images: Images,
    *,
    settings: Settings,
    transform: object = None,
    pick: Callable[[Any], Any] | None = None,
    names: Iterable[str] = (),
) -> Fingerprint:
    """Take the fingerprint; ``names`` are of the model and its classes, ``pick`` picks outputs.

    An error of the model's, or in reading an image, is part of the digest: the audit meets it
    again.
    """
    network = hashlib.sha256()
    chosen = {k: v for k, v in settings.to_json().items() if k not in _NOT_OF_FIGURES}
    network.update(json.dumps([chosen, list(names)], sort_keys=True).encode())
    for part in _sources(model, images, (transform, pick)):
        network.update(part)
    with _noting_errors(network.update):
        network.update(model_digest(model).encode())
        digest_modules(model, network.update)
        digest_values(pick, network.update)
    _digest_computation(model, images, settings, pick, network.update)
    return Fingerprint(network.hexdigest(), contents(images, transform))


def contents(images: Images, transform: object) -> str:
    """Return the digest of what the source of the images holds, and of its files."""
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
    """Run the model on the sampled images, one at a time and on one thread: other numbers of
    threads give other last bits.
    """

    def see(call: ConvCall) -> None:
        update(call.name.encode())
        update(raw_bytes(call.output))

    with _noting_errors(update), _one_thread():
        samples = sample(images, seed=settings.seed)
        place = next((t.device for t in (*model.parameters(), *model.buffers())), None)
        with borrowed(model, seed=settings.seed, device=place or torch.device("cpu")) as ready:
            for image in samples:
                update(raw_bytes(image))
                with _noting_errors(update), tapped(Tap(model, see)) as tap:
                    tap.begin(1)
                    output = ready(image[None].clone().to(place or "cpu"))
                    for tensor in _tensors_in(output if pick is None else pick(output)):
                        update(raw_bytes(tensor))


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


def _tensors_in(output: object, depth: int = 4) -> Iterator[Tensor]:
    """Find the tensors in what a model returned: containers, and objects with attributes."""
    if isinstance(output, Tensor):
        yield output
    elif depth:
        inside: Iterable[Any] = ()
        if isinstance(output, Mapping):
            inside = output.values()
        elif isinstance(output, list | tuple):
            inside = output
        elif hasattr(output, "__dict__"):
            inside = vars(output).values()
        for each in list(inside):
            yield from _tensors_in(each, depth - 1)


def _sources(model: nn.Module, images: Images, callables: Iterable[object]) -> Iterator[bytes]:
    """Yield the digests of the source files that define the classes of the model and the images,
    and the functions: what may matter on other images only.
    """
    things: list[object] = [type(module) for module in model.modules()]
    things += [each for each in (*code_of(images), *callables) if each is not None]
    files = set()
    for thing in things:
        code = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
        with suppress(TypeError, OSError):
            files.add(inspect.getsourcefile(code) or "")
    for file in sorted(files - {""}):
        with suppress(OSError):
            stat = Path(file).stat()
            if stat.st_size <= _LARGEST_SOURCE:
                yield _file_digest(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _file_digest(file: str, _changed: int, _size: int) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()
