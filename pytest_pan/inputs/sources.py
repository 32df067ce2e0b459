"""What images can be given as, and what each source promises."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    default_collate,
)

from pytest_pan.inputs.folders import WHAT_IMAGES_CAN_BE, ImageFolder
from pytest_pan.inputs.loading import Indexed, Transformed, check_dense
from pytest_pan.inputs.names import class_names_of, printable
from pytest_pan.inputs.pictures import FromRGB, Transform, to_tensor
from pytest_pan.records.errors import InputError

Suggested = tuple[Transform, str]
"""A transform, and what it does in words."""


class TensorBatches(list[Tensor]):
    """The batches of a tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Images as they were given, ready to be read."""

    items: Indexed | TensorBatches | DataLoader[Any]
    description: str
    transform: str = ""
    """What the images go through, in words; empty where the source gives tensors."""
    has_own_transform: bool = False
    """Whether only code of this package and its dependencies reads the files."""
    picture: Transform | None = None
    """What PIL images go through; None refuses them."""
    picture_text: str = ""
    """What ``picture`` does, in words."""
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def expected(self) -> int | None:
        """Number of images that the source promises; None where it does not know."""
        try:
            if isinstance(self.items, DataLoader):
                return _images_of(self.items)
            if isinstance(self.items, TensorBatches):
                return sum(len(batch) for batch in self.items)
            return len(self.items)
        except (TypeError, NotImplementedError):
            return None

    @property
    def expected_batches(self) -> int | None:
        """Number of batches that a DataLoader promises; None where there is no such number."""
        loader = self.items
        if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
            return None  # several workers may give a stream in more batches than its length says
        try:
            return len(loader)
        except (TypeError, NotImplementedError):
            return None


def _images_of(loader: DataLoader[Any]) -> int | None:
    """Return how many images a loader's samplers draw; None where they do not say."""
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or type(loader).__len__ is not DataLoader.__len__:
        return None
    if isinstance(loader.dataset, IterableDataset):
        if batches.drop_last and loader.num_workers > 1:
            return None
        drawn = len(loader.dataset)  # type: ignore[arg-type]
    else:
        drawn = len(batches.sampler)  # type: ignore[arg-type]
    return drawn - drawn % batches.batch_size if batches.drop_last else drawn


def open_source(
    given: object,
    *,
    transform: Transform | None,
    suggested: Suggested | None,
    batch_size: int,
    skip_broken: bool,
    is_shared: bool,
) -> Source:
    """Open what a user gave as images; raise :class:`InputError` where it cannot be read.

    ``suggested``: for pictures, where there is no ``transform``. ``is_shared``: whether several
    processes read the images.
    """
    if isinstance(given, str | os.PathLike):
        return _folder(Path(given), transform, suggested, skip_broken)
    if isinstance(given, Tensor | DataLoader):
        if transform is not None:
            raise InputError(
                "a transform for images that are already in batches",
                where="images",
                got=type(given).__name__,
                allowed="a transform for a folder or a Dataset",
                next="Apply the transform before batching, and pass no transform here.",
            )
        return (
            _tensor(given, batch_size) if isinstance(given, Tensor) else _loader(given, is_shared)
        )
    if isinstance(given, IterableDataset):
        raise _no_source(given, "Wrap an IterableDataset in a DataLoader. ")
    indexed = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    if not indexed or isinstance(given, Mapping | nn.Module):
        raise _no_source(given)
    return _dataset(given, transform, suggested)


def _no_source(given: object, remedy: str = "") -> InputError:
    return InputError(
        "images",
        got=type(given).__name__,
        allowed=WHAT_IMAGES_CAN_BE,
        next=f"{remedy}An audit never makes up images, because its figures depend on them.",
    )


def _folder(
    path: Path, transform: Transform | None, suggested: Suggested | None, skip_broken: bool
) -> Source:
    chosen, text = (transform, "given") if transform else suggested or (None, "")
    folder = ImageFolder(path, chosen, skip_broken=skip_broken)
    return Source(
        items=folder,
        description=printable(str(path)),
        transform=text,
        has_own_transform=transform is None,
        picture=None if chosen else to_tensor,
        class_names=tuple(folder.classes),
        notes=folder.notes,
    )


def _tensor(images: Tensor, batch_size: int) -> Source:
    check_dense(images)
    batches = images.split(batch_size) if images.dim() == 4 else [images]
    return Source(items=TensorBatches(batches), description="tensor")


def _loader(loader: DataLoader[Any], is_shared: bool) -> Source:
    description = f"DataLoader of {type(loader.dataset).__name__}"
    if is_shared and isinstance(loader.sampler, DistributedSampler):
        raise InputError(
            "a DataLoader that splits its images among processes",
            where=description,
            got="a DistributedSampler",
            allowed="a DataLoader without one: each process then takes its part of the batches",
        )
    names = class_names_of(loader.dataset)
    return Source(items=loader, description=description, class_names=names)


def _dataset(given: Any, transform: Transform | None, suggested: Suggested | None) -> Source:
    source = Source(
        items=given, description=type(given).__name__, class_names=class_names_of(given)
    )
    if transform is not None:
        return replace(source, items=Transformed(given, transform), transform="given")
    if suggested is not None:
        return replace(source, picture=FromRGB(suggested[0]), picture_text=suggested[1])
    return replace(source, picture=to_tensor)


def is_transposed(labels: Any, loader: DataLoader[Any], count: int) -> bool:
    """Tell whether a loader made of lists, one an image, a list of tensors, one a place."""
    return (
        loader.collate_fn is default_collate
        and isinstance(labels, list)
        and len(labels) > 1
        and all(isinstance(each, Tensor) and each.shape == (count,) for each in labels)
    )
