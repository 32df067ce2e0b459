"""Items of a data set as batches: which ones, in which process, and with which random draws."""

from __future__ import annotations

import operator
import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pytest_pan.instrument.gate import kept_randomness
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError, PanError

_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y")


class Indexed(Protocol):
    """What items are taken from."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch as it leaves the process that loaded it; with an error there are no images."""

    images: Tensor = field(default_factory=lambda: torch.empty(0))
    labels: Tensor | None = None
    skips: tuple[Skip, ...] = ()
    error: Exception | None = None

    def pin_memory(self) -> Self:
        """For the DataLoader: images where the GPU can fetch them by itself."""
        return replace(self, images=self.images.pin_memory())


def batches(
    dataset: Indexed,
    indices: Sequence[Sequence[int]],
    *,
    seed: int,
    workers: int,
    pin: bool,
    where: str,
) -> Iterator[Loaded]:
    """The items of these indices, a batch each, loaded by so many processes (0: by this one).

    Python's, numpy's and torch's generators are seeded for each item by ``seed`` and its index, so
    that random transforms do not depend on the batch or the process. What loading raises is
    raised here, ``where`` naming the data set.
    """
    if not indices:
        return
    with warnings.catch_warnings(action="ignore"):  # as many workers as asked for, by fork
        loader: DataLoader[Any] = DataLoader(
            _Seeded(dataset, seed),
            batch_sampler=indices,  # type: ignore[arg-type]
            num_workers=min(workers, len(indices)),
            pin_memory=pin,
            collate_fn=_Collate(where),
            generator=torch.Generator(),  # or it would draw from the user's
        )
        arriving = iter(loader)
    try:
        for loaded in arriving:
            if loaded.error is not None:
                raise loaded.error
            yield loaded
    finally:
        del arriving  # ends its processes: an error's traceback would keep them alive


def available_cpus() -> int:
    """CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Transformed(Dataset[Any]):
    """A data set whose images go through a transform; labels stay."""

    def __init__(self, source: Any, transform: Callable[[Any], Tensor]) -> None:
        self._source, self._transform = source, transform

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        item = self._source[index]
        if isinstance(item, Mapping):
            return {k: self._transform(v) if k == _image_key(item) else v for k, v in item.items()}
        if isinstance(item, tuple | list):
            return self._transform(item[0]), *item[1:]
        return self._transform(item)


class _Seeded(Dataset[Any]):
    """Each item drawn from its own seed, or the error that it raised."""

    def __init__(self, source: Indexed, seed: int) -> None:
        self._source, self._seed = source, seed

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        (own,) = np.random.SeedSequence((self._seed, index)).generate_state(1, np.uint64)
        with kept_randomness(int(own), gpus=False):
            try:
                return self._source[index]
            except Exception as error:
                return Loaded(error=_portable(error))


def _portable(error: Exception) -> Exception:
    """The error itself; from another process, a copy that says where it was raised."""
    if get_worker_info() is None:
        return error
    place = "".join(traceback.format_exception(error))
    try:
        twin: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301, our own bytes
    except Exception:
        twin = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(twin, PanError):
        twin.add_note(f"in a worker process:\n{place}")
    return twin


@dataclass(frozen=True, slots=True)
class _Collate:
    """Items as one batch, the broken ones set aside."""

    where: str

    def __call__(self, items: Sequence[Any]) -> Loaded:
        failed = next((item for item in items if isinstance(item, Loaded)), None)
        if failed is not None:
            return failed
        skips = tuple(item for item in items if isinstance(item, Skip))
        try:
            pairs = [split(item) for item in items if not isinstance(item, Skip)]
            images = [image for image, _ in pairs]
            if not images:
                return Loaded(skips=skips)
            self._check_shapes(images)
            labels = whole_numbers([label for _, label in pairs], len(images))
            return Loaded(torch.stack(images).detach(), labels, skips)
        except Exception as error:
            return Loaded(error=_portable(error))

    def _check_shapes(self, images: Sequence[Tensor]) -> None:
        if any(image.shape != images[0].shape for image in images):
            shapes = sorted({tuple(image.shape) for image in images})
            raise InputError(
                "images of different shapes in one batch",
                where=self.where,
                got=", ".join(map(str, shapes[:3])),
                next="Resize and crop them to one shape in the transform.",
            )


def whole_numbers(given: Any, count: int) -> Tensor | None:
    """Class labels (N,) where each image has a whole number; masks and names are none."""
    try:
        known = torch.tensor([operator.index(label) for label in given])
    except (TypeError, RuntimeError):
        return None
    return known if len(known) == count else None


def _image_key(item: Mapping[Any, Any]) -> str:
    return next((key for key in _IMAGE_KEYS if key in item), "")


def split(item: Any) -> tuple[Tensor, Any]:
    """The image(s) and the label(s) of what a data set or a loader gives."""
    label: Any = None
    if isinstance(item, Mapping):
        image = item.get(_image_key(item))
        label = next((item[key] for key in _LABEL_KEYS if key in item), None)
        got = f"a dict with {', '.join(map(str, item))}"
    elif isinstance(item, tuple | list) and item:
        image, label = item[0], item[1] if len(item) > 1 else None
        got = f"a {type(item).__name__} that begins with {type(image).__name__}"
    else:
        image, got = item, type(item).__name__
    if not isinstance(image, Tensor):
        raise InputError(
            "an item of the images",
            got=got,
            allowed="a tensor, (tensor, label), or a dict with " + " or ".join(_IMAGE_KEYS),
            next="Turn pictures into tensors by a transform.",
        )
    return image, label
