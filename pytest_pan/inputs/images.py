"""Images from what users have, in batches."""

from __future__ import annotations

import time
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pytest_pan.inputs import loading
from pytest_pan.inputs.folders import WHAT_IMAGES_CAN_BE, Transform
from pytest_pan.inputs.groups import group_numbers
from pytest_pan.inputs.labels import class_numbers, output_numbers
from pytest_pan.inputs.loading import Indexed, Loaded, Reading
from pytest_pan.inputs.pictures import different_sizes, to_tensor, untransformed
from pytest_pan.inputs.seen import Batch, Seen
from pytest_pan.inputs.sources import Suggested, TensorBatches, is_transposed, open_source
from pytest_pan.instrument.processes import Processes
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError, PanError

_CPU = torch.device("cpu")
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """How :class:`Images` reads."""

    batch_size: int
    seed: int
    workers: int | None
    device: torch.device
    shard: tuple[int, int]
    drops: bool


class Images:
    """Batches of images from any source, counted and digested as they pass.

    Pictures (a folder, or a Dataset of PIL images) go through ``transform``, or without one through
    ``suggested`` (a transform and what it does in words), or without that become floats in [0, 1]
    as they are. PIL images are converted to RGB; their EXIF orientation is ignored, as torchvision
    does.

    ``workers`` processes load a folder or a Dataset. None is as many as there are CPUs, eight at
    most, for files on their way to a GPU without a ``transform``, and else none: a user's transform
    may not survive another process, and where the model runs on the CPU the cores are busy. Random
    transforms are seeded for each image by ``seed`` and its index.

    ``outputs`` names the model's classes: labels become their numbers, by name.

    Images that repeat an earlier one of the pass are left out, unless ``keep_repeated``.

    ``shard`` (rank, ranks) gives every ranks-th batch from the rank-th on, as one process would
    have it, with repeated images. An empty batch may be among them, and only :meth:`share` checks
    that there are images at all, and as many as the source promised.

    ``groups``: which images are not independent
    (:func:`pytest_pan.inputs.groups.group_numbers`).

    Attributes: ``groups``, the number of the group of each image of the source, or None;
    ``places``, the places in the source of the images of the last batch; ``waited``, the seconds
    spent on loading in all passes; ``batch`` and ``first``, the numbers of the last batch and of
    its first image, counted over all shards.
    """

    def __init__(
        self,
        source: object,
        *,
        transform: Transform | None = None,
        suggested: Suggested | None = None,
        batch_size: int = 32,
        bad_images: Literal["fail", "skip"] = "fail",
        seed: int = 0,
        workers: int | None = None,
        device: torch.device = _CPU,
        shard: tuple[int, int] = (0, 1),
        keep_repeated: bool = False,
        outputs: tuple[str, ...] = (),
        groups: object = None,
    ) -> None:
        self._settings = _Settings(
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            device=device,
            shard=shard,
            drops=shard == (0, 1) and not keep_repeated,
        )
        self._source = open_source(
            source,
            transform=transform,
            suggested=suggested,
            batch_size=batch_size,
            skip_broken=bad_images == "skip",
            is_shared=shard != (0, 1),
        )
        self._outputs = outputs
        self.groups = group_numbers(groups, self._source.items, self.expected)
        self.waited = 0.0
        self._pass_now: weakref.ref[Generator[Batch, None, None]] | None = None
        self._start()

    def _start(self) -> None:
        self._seen = Seen(drops=self._settings.drops)
        self.batch, self.first = -1, 0
        self.places: list[int] = []

    @property
    def expected(self) -> int | None:
        """Number of images in all shards that the source promises; None where it does not know."""
        return self._source.expected

    @property
    def workers(self) -> int:
        """Number of processes that load the images; a DataLoader has its own."""
        items, settings = self._source.items, self._settings
        if isinstance(items, DataLoader):
            return items.num_workers
        if isinstance(items, TensorBatches):
            return 0
        if settings.workers is not None:
            return settings.workers
        useful = self._source.has_own_transform and settings.device.type == "cuda"
        return min(_MOST_WORKERS, loading.available_cpus()) if useful else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, where the data set has them (class folders do)."""
        return self._source.class_names

    @property
    def label_classes(self) -> int:
        """How many classes labels tell apart; 0 where that is not known."""
        names = self.class_names
        return len(self._outputs if output_numbers(names, self._outputs) else names)

    @property
    def source(self) -> Any:
        """What batches or items are taken from: an indexed data set, a DataLoader, or batches."""
        return self._source.items

    @property
    def description(self) -> str:
        """Name of the source, for people."""
        return self._source.description

    @property
    def reading(self) -> Reading:
        """How items of a folder or a Dataset are read."""
        return Reading(
            seed=self._settings.seed,
            workers=self.workers,
            pin=self._settings.device.type == "cuda",
            where=self.description,
            picture=self._source.picture,
            names=self.class_names,
            outputs=self._outputs,
        )

    @property
    def skips(self) -> list[Skip]:
        """Files that were left out, in the order of the batches."""
        return [skip for number in sorted(self._seen.skips) for skip in self._seen.skips[number]]

    @property
    def digests(self) -> list[bytes]:
        """The digest of each image, in the order of the batches."""
        return [one for n in sorted(self._seen.digests) for one in self._seen.digests[n]]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or not used so far, a sentence each."""
        return *self._source.notes, *self._seen.notes

    def facts(self, first: int | None = None) -> dict[str, Any]:
        """Return the facts of what has passed, or as if it had ended with the ``first`` images.

        ``count`` of different images, how many were ``repeated`` and ``expected``; digests of
        images and labels; lengths of batches, shape, source and transform. The digest is SHA-256
        over the images' own digests in order, whatever the batch size.
        """
        return {
            **self._seen.facts(first),
            "expected": self.expected,
            "groups": None if self.groups is None else len(set(self.groups)),
            "shape": list(self._seen.shape),
            "source": self.description,
            "transform": self._transform_text(),
        }

    def _transform_text(self) -> str:
        source = self._source
        is_folder = source.has_own_transform
        if source.transform or not (is_folder or self._seen.pictures):
            return source.transform
        return source.picture_text or untransformed(self._seen.shape)

    def share(self, processes: Processes) -> None:
        """Merge what the processes have read; raise as the end of a pass of one process does."""
        met = processes.meet("images", self._seen)
        self._seen = Seen(drops=self._settings.drops)
        self._seen.merge(met)
        self._check_sizes()
        self._check_complete()

    def __iter__(self) -> Iterator[Batch]:
        """Yield each batch as (images (N, C, H, W) float on the CPU, labels (N,) or None)."""
        self.close()
        reading = self._pass()
        self._pass_now = weakref.ref(reading)
        return reading

    def close(self) -> None:
        """End a pass that was left half-way, and with it the processes that load for it."""
        reading = self._pass_now() if self._pass_now else None
        if reading is not None:
            reading.close()

    def _pass(self) -> Generator[Batch, None, None]:
        self._start()
        is_alone = self._settings.shard == (0, 1)
        started = time.perf_counter()
        for number, position, loaded in self._read():
            first = position - sum(self._seen.dropped.values())
            if loaded.images.numel():
                self._check(number, loaded.images)
            images, labels = self._seen.add(number, loaded)
            self._check_sizes()
            if is_alone and not images.numel():
                continue  # in a shard, the other processes count on a batch here
            self.batch, self.first = number, first
            self.places = [position + place for place in self._seen.places]
            self.waited += time.perf_counter() - started
            yield images, labels
            started = time.perf_counter()
        self.waited += time.perf_counter() - started
        if is_alone:
            self._check_complete()

    def _read(self) -> Iterator[tuple[int, int, Loaded]]:
        """Yield the shard's batches with their number and the place of their first image.

        What the source raises becomes an :class:`InputError`, so that it is not taken for the
        model's.
        """
        items = self._source.items
        try:
            if isinstance(items, DataLoader | TensorBatches):
                yield from self._batches(items)
            else:
                yield from self._items(items)
        except PanError:
            raise
        except Exception as error:
            raise InputError(
                f"reading them raised {type(error).__name__}: {error}",
                where=f"images of {self.description}",
                got=f"{sum(self._seen.read.values())} images before that",
                next="Iterate over them without pytest-pan to see whether they raise there too.",
            ) from error

    def _batches(
        self, batches: DataLoader[Any] | TensorBatches
    ) -> Iterator[tuple[int, int, Loaded]]:
        rank, ranks = self._settings.shard
        position = 0
        for number, item in enumerate(batches):
            images, labels = loading.split(item)
            count = len(images) if images.dim() else 0
            if number % ranks == rank:
                if isinstance(batches, DataLoader) and is_transposed(labels, batches, count):
                    labels = torch.stack(labels, 1)
                numbers, why = class_numbers(labels, count, self.class_names, self._outputs)
                yield number, position, Loaded(images, numbers, unlabelled=why)
            position += count

    def _items(self, dataset: Indexed) -> Iterator[tuple[int, int, Loaded]]:
        count, size = len(dataset), self._settings.batch_size
        (rank, ranks) = self._settings.shard
        every = [range(first, min(first + size, count)) for first in range(0, count, size)]
        loaded = loading.batches(dataset, every[rank::ranks], self.reading)
        for number in range(len(every))[rank::ranks]:
            batch = next(loaded, None)
            if batch is not None:
                yield number, every[number].start, batch
            elif ranks > 1:  # the data set has ended
                yield number, every[number].start, Loaded()

    def _check(self, number: int, images: Tensor) -> None:
        if images.dim() != 4 or not images.is_floating_point():
            raise InputError(
                "images",
                where=self.description,
                got=f"{images.dtype} {tuple(images.shape)}",
                allowed="floating point (N, C, H, W)",
                next="Scale them to [0, 1] and normalise them as in training."
                if not images.is_floating_point()
                else "",
            )
        if not torch.isfinite(images).all():
            bad = int((~torch.isfinite(images)).flatten(1).any(1).nonzero()[0])
            place = f"image {sum(self._seen.read.values()) + bad}"
            if self._settings.shard != (0, 1):
                place = f"image {bad} of batch {number}"
            raise InputError("not a finite image", where=f"{self.description}, {place}")

    def _check_sizes(self) -> None:
        """Raise where pictures that go through no transform have several sizes."""
        is_plain = self._seen.pictures and self._source.picture is to_tensor
        if is_plain and len(self._seen.shapes) > 1:
            raise different_sizes(self._seen.shapes, self.description)

    def _check_complete(self) -> None:
        """Raise where a whole pass had fewer images than the source promised, or none."""
        self._check_promise()
        if self._seen.digests:
            return
        broken = len(self.skips)
        raise InputError(
            "no images",
            where=self.description,
            got=f"{broken} broken image file{'s' * (broken != 1)}" if broken else "",
            allowed=WHAT_IMAGES_CAN_BE,
        )

    def _check_promise(self) -> None:
        read, batches = sum(self._seen.read.values()), len(self._seen.read)
        expected, most = self.expected, self._source.expected_batches
        has_ended = most is None or batches < most
        if expected is not None and read < expected:
            got = f"{read} of {expected} images"
        elif expected is None and most is not None and batches < most:
            got = f"{batches} of {most} batches"
        else:
            return
        raise InputError(
            "the source ended early" if has_ended else "the batches lack images",
            where=f"images of {self.description}",
            got=got,
            next="A StopIteration ends it without a message: raise another error where an item "
            "cannot be read."
            if has_ended
            else "A collate_fn leaves some out: leave them out of the data set instead.",
        )
