"""Items of a data set as batches, loaded in this process or in others, with seeded draws."""

from __future__ import annotations

import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from pytest_pan.inputs.labels import class_numbers
from pytest_pan.inputs.pictures import Transform, different_sizes, to_tensor
from pytest_pan.instrument.gate import kept_randomness
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError, PanError

_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y")


class Indexed(Protocol):
    """A data set with a length and items by index."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch as it leaves the process that loaded it; with an error there are no images."""

    images: Tensor = field(default_factory=lambda: torch.empty(0))
    labels: Tensor | None = None
    unlabelled: str = ""
    """Why the labels are not used; empty where they are, or where there are none."""
    skips: tuple[Skip, ...] = ()
    places: tuple[int, ...] | None = None
    """Place of each image among the items of the batch; None if all of them are images."""
    has_pictures: bool = False
    """Whether images came as PIL images and were made tensors here."""
    has_ended: bool = False
    """Whether the data set ended (StopIteration) before the batch was full."""
    error: Exception | None = None

    def pin_memory(self) -> Self:
        """Move the images to where a GPU can fetch them by itself; the DataLoader calls this."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the items of a data set are read."""

    seed: int = 0
    """For each item, with its index: random transforms depend on neither batch nor process."""
    workers: int = 0
    """Processes that load; 0 loads in this one."""
    pin: bool = False
    """Whether batches go to a GPU."""
    where: str = "images"
    """Name of the data set, for errors."""
    picture: Transform | None = None
    """What PIL images go through; None refuses them."""
    names: tuple[str, ...] = ()
    """Names of the data set's classes."""
    outputs: tuple[str, ...] = ()
    """Names of the model's classes, where they are given."""


def batches(
    dataset: Indexed, indices: Sequence[Sequence[int]], reading: Reading
) -> Iterator[Loaded]:
    """Yield the items of these indices, a batch each, until the data set ends.

    Python's, numpy's and torch's generators are seeded for each item. Raises what loading raises.
    """
    if not indices:
        return
    with warnings.catch_warnings(action="ignore"):  # as many workers as asked for, by fork
        loader: DataLoader[Any] = DataLoader(
            _Seeded(dataset, reading),
            batch_sampler=indices,  # type: ignore[arg-type]
            num_workers=min(reading.workers, len(indices)),
            pin_memory=reading.pin,
            collate_fn=_Collate(reading),
            generator=torch.Generator(),  # or it would draw from the user's
        )
        arriving = iter(loader)
    try:
        for loaded in arriving:
            if loaded.error is not None:
                raise loaded.error
            yield loaded
            if loaded.has_ended:
                return
    finally:
        del arriving  # ends its processes: an error's traceback would keep them alive


def some(
    dataset: Indexed,
    places: Sequence[int],
    reading: Reading,
    *,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Tensor]:
    """Load the images of a few items, (C, H, W) each, with seeded draws; broken files are left out.

    ``collate``: what a DataLoader makes a batch with.
    """
    seeded = _Seeded(dataset, reading)
    for place in places:
        item = seeded[place]
        if isinstance(item, Loaded) and item.error is not None:
            raise item.error
        if isinstance(item, Skip):
            continue
        image = split(item if collate is None else collate([item]))[0]
        yield image[0] if image.dim() == 4 else image


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Transformed(Dataset[Any]):
    """A data set whose images go through a transform; labels stay as they are."""

    def __init__(self, source: Any, transform: Callable[[Any], Tensor]) -> None:
        self._source, self._transform = source, transform
        self.groups = getattr(source, "groups", None)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        item = self._source[index]
        if isinstance(item, Mapping):
            return {k: self._transform(v) if k == _image_key(item) else v for k, v in item.items()}
        if isinstance(item, tuple | list):
            return self._transform(item[0]), *item[1:]
        return self._transform(item)


@dataclass(frozen=True, slots=True)
class _FromPicture:
    """An item whose PIL image was made a tensor."""

    image: Tensor
    label: Any


class _Seeded(Dataset[Any]):
    """Each item drawn from its own seed, or the error that it raised."""

    def __init__(self, source: Indexed, reading: Reading) -> None:
        self._source, self._reading = source, reading

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        entropy = np.random.SeedSequence((self._reading.seed, index))
        (own,) = entropy.generate_state(1, np.uint64)
        with kept_randomness(int(own), gpus=False):
            try:
                return self._converted(self._source[index])
            except StopIteration:
                return Loaded(has_ended=True)
            except Exception as error:
                return Loaded(error=_portable(error))

    def _converted(self, item: Any) -> Any:
        """Convert the picture in an item; an item without one stays as it is."""
        picture, label, _ = _parts(item)
        if self._reading.picture is None or not isinstance(picture, Image.Image):
            return item
        return _FromPicture(self._reading.picture(picture), label)


def _portable(error: Exception) -> Exception:
    """Return the error itself, or from a worker process a copy that says where it was raised."""
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
    """Items as one batch, without the broken ones and what follows the end of the data set."""

    reading: Reading

    def __call__(self, items: Sequence[Any]) -> Loaded:
        try:
            return self._batch(items)
        except Exception as error:
            return Loaded(error=_portable(error))

    def _batch(self, items: Sequence[Any]) -> Loaded:
        stops = (place for place, item in enumerate(items) if isinstance(item, Loaded))
        stop = next(stops, len(items))
        has_ended = stop < len(items)
        if has_ended and items[stop].error is not None:
            return items[stop]  # type: ignore[no-any-return]
        places = [at for at, item in enumerate(items[:stop]) if not isinstance(item, Skip)]
        whole = [items[at] for at in places]
        batch = Loaded(
            places=tuple(places),
            skips=tuple(item for item in items[:stop] if isinstance(item, Skip)),
            has_pictures=any(isinstance(item, _FromPicture) for item in whole),
            has_ended=has_ended,
        )
        if not whole:
            return batch
        pairs = [split(item) for item in whole]
        images = [image for image, _ in pairs]
        self._check_shapes(images, batch.has_pictures)
        reading = self.reading
        given = [label for _, label in pairs]
        labels, why = class_numbers(given, len(pairs), reading.names, reading.outputs)
        return replace(batch, images=torch.stack(images).detach(), labels=labels, unlabelled=why)

    def _check_shapes(self, images: Sequence[Tensor], has_pictures: bool) -> None:
        shapes = sorted({tuple(image.shape) for image in images})
        if len(shapes) == 1:
            return
        if has_pictures and self.reading.picture is to_tensor:
            raise different_sizes(shapes, self.reading.where)
        raise InputError(
            "images of different shapes in one batch",
            where=self.reading.where,
            got=", ".join(map(str, shapes[:3])),
            next="Resize and crop them to one shape in the transform (fixture pan_transform).",
        )


def _image_key(item: Mapping[Any, Any]) -> str:
    return next((key for key in _IMAGE_KEYS if key in item), "")


def _parts(item: Any) -> tuple[Any, Any, str]:
    """Return the image, the label and a description of an item or of a batch of a loader."""
    if isinstance(item, Mapping):
        label = next((item[key] for key in _LABEL_KEYS if key in item), None)
        keys = ", ".join(map(str, item))
        return item.get(_image_key(item)), label, f"a dict with {keys}"
    if isinstance(item, tuple | list) and item:
        what = f"a {type(item).__name__} that begins with {type(item[0]).__name__}"
        return item[0], item[1] if len(item) > 1 else None, what
    return item, None, type(item).__name__


def split(item: Any) -> tuple[Tensor, Any]:
    """Return the image(s) and the label(s) of what a data set or a loader gives.

    Raises :class:`InputError` for anything but dense tensors.
    """
    if isinstance(item, _FromPicture):
        return item.image, item.label
    image, label, got = _parts(item)
    if not isinstance(image, Tensor):
        raise InputError(
            "an item of the images",
            got=got,
            allowed="a tensor, (tensor, label), or a dict with " + " or ".join(_IMAGE_KEYS),
            next="Convert pictures to tensors in a transform.",
        )
    check_dense(image)
    return image, label


def check_dense(images: Tensor) -> None:
    """Raise :class:`InputError` for tensors without values or with another layout than rows."""
    if images.is_meta:
        kind, remedy = "a meta tensor, which has no values", "Load the images for real."
    elif images.is_nested:
        kind, remedy = "a nested tensor", "Resize the images to one shape and stack them."
    elif images.layout != torch.strided:
        kind, remedy = f"a tensor of layout {images.layout}", "Convert it by to_dense()."
    else:
        return
    raise InputError("images", got=kind, allowed="dense tensors with values", next=remedy)
