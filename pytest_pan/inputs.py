"""Images from what users have."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset

from pytest_pan.errors import InputError, PanError
from pytest_pan.fingerprints import raw_bytes
from pytest_pan.folders import WHAT_IMAGES_CAN_BE, ImageFolder, Transform, imagenet_transform
from pytest_pan.records import Skip

_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y")


class Images:
    """Batches of images from any source, counted and digested as they pass.

    The digest is the SHA-256 of the images' values in order, whatever the batch size. ``skips``
    lists files that were left out.
    """

    def __init__(
        self,
        source: object,
        *,
        transform: Transform | None = None,
        batch_size: int = 32,
        bad_images: Literal["fail", "skip"] = "fail",
    ) -> None:
        self._describe = ""
        self._transform = "given" if transform else ""
        self._bad_images = bad_images
        self._start()
        self._batches = self._open(source, transform, batch_size)

    def _start(self) -> None:
        self.skips: list[Skip] = []
        self._count = self._labelled = 0
        self.first = 0
        self._shape: tuple[int, ...] = ()
        self._digest, self._digested = hashlib.sha256(), ""

    @property
    def expected(self) -> int | None:
        """How many images there are to come, where the source knows."""
        try:
            if isinstance(self._batches, DataLoader):
                return _promised(self._batches)
            return sum(len(batch) for batch in self._batches)
        except (TypeError, NotImplementedError):
            return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, where the data set has them (class folders do)."""
        classes = getattr(getattr(self._batches, "dataset", None), "classes", ())
        return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()

    def facts(self) -> dict[str, Any]:
        """Count, digest, shape of one image, source and transform of what has passed."""
        return {
            "count": self._count,
            "digest": self._digest.hexdigest(),
            "shape": list(self._shape),
            "labelled": self._labelled,
            "source": self._describe,
            "transform": self._transform,
        }

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each batch as (images (N, C, H, W) float on the CPU, labels (N,) or None)."""
        self._start()
        for item in self._read():
            images, labels = _split(item)
            if images.numel() == 0:
                continue
            self._check(images)
            known = _labels(labels, len(images))
            self.first = self._count
            self._take(images, known)
            yield images, known
        if self._count == 0:
            broken = len(self.skips)
            raise InputError(
                "no images",
                where=self._describe,
                got=f"{broken} broken image file{'s' * (broken != 1)}" if broken else "",
                allowed=WHAT_IMAGES_CAN_BE,
            )

    def _read(self) -> Iterator[Any]:
        """The source's items; what it raises is said to come from it, not from the model."""
        try:
            yield from self._batches
        except PanError:
            raise
        except Exception as error:
            raise InputError(
                f"reading them raised {type(error).__name__}: {error}",
                where=f"images of {self._describe}",
                got=f"{self._count} images before that",
                next="Can you iterate over them by hand?",
            ) from error

    def _take(self, images: Tensor, labels: Tensor | None) -> None:
        kind = f"{images.dtype} {tuple(images.shape[1:])}"
        if kind != self._digested:
            self._digest.update(kind.encode())
            self._digested = kind
        self._digest.update(raw_bytes(images))
        self._shape = tuple(images.shape[1:])
        self._count += len(images)
        self._labelled += 0 if labels is None else len(labels)

    def _open(self, source: object, transform: Transform | None, batch_size: int) -> Any:
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
            return source.split(batch_size) if source.dim() == 4 else [source]
        if isinstance(source, DataLoader):
            self._describe = f"DataLoader of {type(source.dataset).__name__}"
            return source
        indexed = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if indexed and not isinstance(source, Mapping | nn.Module):
            self._describe = self._describe or type(source).__name__
            dataset = source if transform is None else _Transformed(source, transform)
            return DataLoader(
                dataset,  # type: ignore[arg-type]
                batch_size=batch_size,
                collate_fn=self._collate,
            )
        raise InputError(
            "images",
            got=type(source).__name__,
            allowed=WHAT_IMAGES_CAN_BE,
            next="Images are never invented: the figures depend on them.",
        )

    def _folder(self, path: Path, transform: Transform | None) -> ImageFolder:
        self._describe = str(path)
        if transform is None:
            transform = imagenet_transform()
            self._transform = "ImageNet default: resize 256, crop 224, normalise"
        return ImageFolder(path, transform, skip_broken=self._bad_images == "skip")

    def _collate(self, items: Sequence[Any]) -> Any:
        kept = []
        for item in items:
            if isinstance(item, Skip):
                self.skips.append(item)
            else:
                kept.append(item)
        if not kept:
            return torch.empty(0), None
        pairs = [_split(item) for item in kept]
        images = [image for image, _ in pairs]
        if any(image.shape != images[0].shape for image in images):
            shapes = sorted({tuple(image.shape) for image in images})
            raise InputError(
                "images of different shapes in one batch",
                where=self._describe,
                got=", ".join(map(str, shapes[:3])),
                next="Resize and crop them to one shape in the transform.",
            )
        return torch.stack(images), [label for _, label in pairs]

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
            raise InputError(
                "not a finite image", where=f"{self._describe}, image {self._count + bad}"
            )


class _Transformed(Dataset[Any]):
    """A data set whose images go through a transform; labels stay."""

    def __init__(self, source: Any, transform: Transform) -> None:
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


def _image_key(item: Mapping[Any, Any]) -> str:
    return next((key for key in _IMAGE_KEYS if key in item), "")


def _labels(given: Any, count: int) -> Tensor | None:
    """Class labels (N,) where each image has a whole number; masks and names are none."""
    try:
        known = torch.tensor([operator.index(label) for label in given])
    except (TypeError, RuntimeError):
        return None
    return known if len(known) == count else None


def _promised(loader: DataLoader[Any]) -> int | None:
    """How many images a loader's samplers will draw; None where they do not say."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return None
    drawn = len(batches.sampler)  # type: ignore[arg-type]
    return drawn - drawn % batches.batch_size if batches.drop_last else drawn


def _split(item: Any) -> tuple[Tensor, Any]:
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
