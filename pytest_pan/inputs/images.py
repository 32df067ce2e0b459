"""Images from what users have."""

from __future__ import annotations

import hashlib
import json
import os
import time
import weakref
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler

from pytest_pan.inputs import loading
from pytest_pan.inputs.digests import combined, image_digests
from pytest_pan.inputs.folders import WHAT_IMAGES_CAN_BE, ImageFolder, Transform, imagenet_transform
from pytest_pan.inputs.loading import Indexed, Loaded, Transformed
from pytest_pan.instrument.processes import Processes
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError, PanError

_Batch = tuple[Tensor, Tensor | None]
_CPU = torch.device("cpu")
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How images are read, as :class:`Images` was told."""

    batch_size: int
    seed: int
    workers: int | None
    device: torch.device
    shard: tuple[int, int]


class _Tensors(list[Tensor]):
    """The batches of a tensor."""


class Images:
    """Batches of images from any source, counted and digested as they pass.

    ``workers`` processes load a folder or a Dataset; None is as many as there are CPUs, eight at
    most, for files on their way to a GPU by the transform we bring, else none: a user's own may not
    survive another process, and where the model runs on the CPU the cores are busy. Random
    transforms are seeded for each image by ``seed`` and its index.

    ``shard`` (rank, ranks) gives every ranks-th batch from the rank-th on, each just as it is for
    one process, and leaves it to the caller to see that any process has images.

    The digest is SHA-256 over the images' own digests in order, whatever the batch size;
    ``digests_of`` holds these by the number of their batch, so that another process's can be put
    in. ``skips`` lists files that were left out, ``waited`` counts the seconds spent on
    loading in all passes, and ``batch`` and ``first`` are the numbers of the last batch and of its
    first image, counted over all shards.
    """

    def __init__(
        self,
        source: object,
        *,
        transform: Transform | None = None,
        batch_size: int = 32,
        bad_images: Literal["fail", "skip"] = "fail",
        seed: int = 0,
        workers: int | None = None,
        device: torch.device = _CPU,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self._how = _How(
            batch_size=batch_size, seed=seed, workers=workers, device=device, shard=shard
        )
        self._describe = ""
        self._transform = "given" if transform else ""
        self._bad_images = bad_images
        self._ours = False
        self._classes_of: object = None
        self.waited = 0.0
        self._reading: weakref.ref[Generator[_Batch, None, None]] | None = None
        self._start()
        self._source = self._open(source, transform)

    def _start(self) -> None:
        self._skipped: dict[int, tuple[Skip, ...]] = {}
        self.digests_of: dict[int, tuple[bytes, ...]] = {}
        self._labels_of: dict[int, list[int | None]] = {}
        self.batch = -1
        self._count = 0
        self.first = 0
        self._shape: tuple[int, ...] = ()

    @property
    def expected(self) -> int | None:
        """How many images there are to come in all shards, where the source knows."""
        try:
            if isinstance(self._source, DataLoader):
                return _promised(self._source)
            if isinstance(self._source, _Tensors):
                return sum(len(batch) for batch in self._source)
            return len(self._source)
        except (TypeError, NotImplementedError):
            return None

    @property
    def workers(self) -> int:
        """How many processes load the images; a DataLoader has its own number."""
        if isinstance(self._source, DataLoader):
            return self._source.num_workers
        if isinstance(self._source, _Tensors):
            return 0
        if self._how.workers is not None:
            return self._how.workers
        useful = self._ours and self._how.device.type == "cuda"
        return min(_MOST_WORKERS, loading.available_cpus()) if useful else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, where the data set has them (class folders do)."""
        classes = getattr(self._classes_of, "classes", ())
        return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()

    @property
    def skips(self) -> list[Skip]:
        """Files that were left out, in the order of the batches."""
        return [skip for batch in sorted(self._skipped) for skip in self._skipped[batch]]

    @property
    def digests(self) -> list[bytes]:
        """The digest of each image, in the order of the batches."""
        return [one for batch in sorted(self.digests_of) for one in self.digests_of[batch]]

    def facts(self, first: int | None = None) -> dict[str, Any]:
        """Of what has passed, or as if the pass had ended with the ``first`` images: count and how
        many there are, digests of images and labels, lengths of batches, shape, source, transform.
        """
        numbers = sorted(self.digests_of)
        ends = accumulate(len(self.digests_of[number]) for number in numbers)
        taken = [n for n, end in zip(numbers, ends, strict=True) if first is None or end <= first]
        digests = [one for number in taken for one in self.digests_of[number]]
        labels = [label for number in taken for label in self._labels_of.get(number, ())]
        labelled = sum(label is not None for label in labels)
        lengths = groupby(len(self.digests_of[number]) for number in taken)
        return {
            "count": len(digests),
            "expected": self.expected,
            "digest": combined(digests),
            "shape": list(self._shape),
            "labelled": labelled,
            "labels": hashlib.sha256(json.dumps(labels).encode()).hexdigest() if labelled else "",
            "batches": ", ".join(f"{len(list(same))} of {length}" for length, same in lengths),
            "source": self._describe,
            "transform": self._transform,
        }

    def share(self, processes: Processes) -> None:
        """Puts together what the processes have seen; raises where none has seen an image."""
        for theirs in processes.meet("labels", self._labels_of):
            self._labels_of.update(theirs)
        mine = self.digests_of, self._skipped, self._count, self._shape
        met = processes.meet("images", mine)
        self._skipped = {number: one for _, skips, *_ in met for number, one in skips.items()}
        self.digests_of = {number: one for digests, *_ in met for number, one in digests.items()}
        self._count = sum(count for *_, count, _ in met)
        self._shape = next((shape for *_, shape in met if shape), ())
        self._check_any()

    def __iter__(self) -> Iterator[_Batch]:
        """Each batch as (images (N, C, H, W) float on the CPU, labels (N,) or None)."""
        self.close()
        reading = self._pass()
        self._reading = weakref.ref(reading)
        return reading

    def close(self) -> None:
        """Ends a pass that was left half-way, and with it the processes that load for it."""
        reading = self._reading() if self._reading else None
        if reading is not None:
            reading.close()

    def _pass(self) -> Generator[_Batch, None, None]:
        self._start()
        started = time.perf_counter()
        for number, first, loaded in self._read():
            if loaded.skips:
                self._skipped[number] = loaded.skips
            if loaded.images.numel() == 0:
                if self._how.shard != (0, 1):  # the others count on a batch here
                    self.batch, self.first = number, first
                    yield loaded.images, None
                continue
            self.batch, self.first = number, first
            self._check(loaded.images)
            self._take(loaded)
            self.waited += time.perf_counter() - started
            yield loaded.images, loaded.labels
            started = time.perf_counter()
        self.waited += time.perf_counter() - started
        if self._how.shard == (0, 1):
            self._check_any()

    def _check_any(self) -> None:
        if self._count:
            return
        broken = len(self.skips)
        raise InputError(
            "no images",
            where=self._describe,
            got=f"{broken} broken image file{'s' * (broken != 1)}" if broken else "",
            allowed=WHAT_IMAGES_CAN_BE,
        )

    def _read(self) -> Iterator[tuple[int, int, Loaded]]:
        """The shard's batches, numbered; what the source raises is said to come from it, not from
        the model.
        """
        try:
            yield from self._numbered()
        except PanError:
            raise
        except Exception as error:
            raise InputError(
                f"reading them raised {type(error).__name__}: {error}",
                where=f"images of {self._describe}",
                got=f"{self._count} images before that",
                next="Can you iterate over them by hand?",
            ) from error

    def _numbered(self) -> Iterator[tuple[int, int, Loaded]]:
        """Number of the batch, number of its first image, and the batch."""
        rank, ranks = self._how.shard
        if not isinstance(self._source, DataLoader | _Tensors):
            yield from self._indexed(self._source)
            return
        first = 0
        for number, item in enumerate(self._source):
            images, labels = loading.split(item)
            count = len(images) if images.dim() else 0
            if number % ranks == rank:
                yield number, first, Loaded(images, loading.whole_numbers(labels, count))
            first += count

    def _indexed(self, dataset: Indexed) -> Iterator[tuple[int, int, Loaded]]:
        count, size = len(dataset), self._how.batch_size
        (rank, ranks) = self._how.shard
        every = [range(first, min(first + size, count)) for first in range(0, count, size)]
        loaded = loading.batches(
            dataset,
            every[rank::ranks],
            seed=self._how.seed,
            workers=self.workers,
            pin=self._how.device.type == "cuda",
            where=self._describe,
        )
        numbers = range(len(every))[rank::ranks]
        for number, batch in zip(numbers, loaded, strict=False):
            yield number, every[number].start, batch

    def _take(self, loaded: Loaded) -> None:
        images, labels = loaded.images, loaded.labels
        self.digests_of[self.batch] = image_digests(images)
        self._shape = tuple(images.shape[1:])
        self._count += len(images)
        none: list[int | None] = [None] * len(images)
        self._labels_of[self.batch] = none if labels is None else labels.tolist()

    def _open(
        self, source: object, transform: Transform | None
    ) -> Indexed | _Tensors | DataLoader[Any]:
        if isinstance(source, str | os.PathLike):
            source, transform = self._folder(Path(source), transform), None
        if isinstance(source, Tensor | DataLoader) and transform is not None:
            raise InputError(
                "a transform for images that are batches already",
                where="images",
                got=type(source).__name__,
                allowed="a transform for a folder or a Dataset",
                next="Transform them before, and leave it out here.",
            )
        if isinstance(source, Tensor):
            self._describe = "tensor"
            whole = source.dim() == 4
            return _Tensors(source.split(self._how.batch_size) if whole else [source])
        if isinstance(source, DataLoader):
            self._describe = f"DataLoader of {type(source.dataset).__name__}"
            if self._how.shard != (0, 1) and isinstance(source.sampler, DistributedSampler):
                raise InputError(
                    "a loader that shares out its images itself",
                    where=self._describe,
                    got="a DistributedSampler",
                    allowed="a plain loader: every process then sees its part of the batches",
                )
            self._classes_of = source.dataset
            return source
        indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if indexed and not isinstance(source, Mapping | nn.Module):
            self._describe = self._describe or type(source).__name__
            dataset: Any = source if transform is None else Transformed(source, transform)
            self._classes_of = source
            return dataset  # type: ignore[no-any-return]
        raise InputError(
            "images",
            got=type(source).__name__,
            allowed=WHAT_IMAGES_CAN_BE,
            next="Images are never invented: the figures depend on them.",
        )

    def _folder(self, path: Path, transform: Transform | None) -> ImageFolder:
        self._describe = str(path)
        if transform is None:
            transform, self._ours = imagenet_transform(), True
            self._transform = "ImageNet default: resize 256, crop 224, normalise"
        return ImageFolder(path, transform, skip_broken=self._bad_images == "skip")

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or not images.is_floating_point():
            raise InputError(
                "images",
                where=self._describe,
                got=f"{images.dtype} {tuple(images.shape)}",
                allowed="floating point (N, C, H, W)",
                next="Scale to [0, 1] and normalise as in training."
                if not images.is_floating_point()
                else "",
            )
        if not torch.isfinite(images).all():
            bad = int((~torch.isfinite(images)).flatten(1).any(1).nonzero()[0])
            place = f"image {self._count + bad}"
            if self._how.shard != (0, 1):
                place = f"image {bad} of batch {self.batch}"
            raise InputError("not a finite image", where=f"{self._describe}, {place}")


def _promised(loader: DataLoader[Any]) -> int | None:
    """How many images a loader's samplers will draw; None where they do not say."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return None
    drawn = len(batches.sampler)  # type: ignore[arg-type]
    return drawn - drawn % batches.batch_size if batches.drop_last else drawn
