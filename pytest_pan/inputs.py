"""Models and images from what users have."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pytest_pan.errors import InputError
from pytest_pan.records import Skip

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y")
_WHAT_IMAGES_CAN_BE = "a tensor (N, C, H, W), a Dataset, a DataLoader, or a folder of image files"

Transform = Callable[[Any], Tensor]


def load_model(model: object, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A model from an ``nn.Module`` or from ``"module:callable"``, called with ``arguments``.

    Wrappers of torch.compile and of data parallelism are taken off. Raises :class:`InputError`
    for TorchScript, for what is no module, and for a callable that fails (a missing weights file).
    """
    if isinstance(model, str):
        model = _call(model, arguments or {})
    while isinstance(model, nn.Module):
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise InputError(
            "TorchScript hides its convolutions",
            where="model",
            got=type(model).__name__,
            allowed="the nn.Module it was made from",
            next="Audit the eager model before scripting or tracing it.",
        )
    if not isinstance(model, nn.Module):
        raise InputError(
            "no model", where="model", got=type(model).__name__, allowed="a torch.nn.Module"
        )
    return model


def _call(spec: str, arguments: Mapping[str, Any]) -> object:
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise InputError(
            "model",
            got=repr(spec),
            allowed="'module:callable'",
            next="For example 'torchvision.models:mobilenet_v2'.",
        )
    try:
        target: Any = importlib.import_module(module)
        for part in attribute.split("."):
            target = getattr(target, part)
        return target if isinstance(target, nn.Module) else target(**arguments)
    except Exception as error:
        raise InputError(
            f"{type(error).__name__}: {error}",
            where=f"model {spec!r} with {dict(arguments)}",
            next="Is the module importable from here, and is its weights file where it looks?",
        ) from error


def model_facts(model: nn.Module, name: str = "") -> dict[str, Any]:
    """Name, digest and parameter count: what a reader needs to know which model it was.

    The digest is the SHA-256 of class names, and of the names, types, shapes and bytes of the
    state dict.
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        digest.update(f"{path} {type(module).__qualname__}\n".encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return {
        "name": name or type(model).__name__,
        "digest": digest.hexdigest(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


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
        self.skips: list[Skip] = []
        self._shape: tuple[int, ...] = ()
        self._count = 0
        self._labelled = 0
        self._digest = hashlib.sha256()
        self._describe = ""
        self._transform = "given" if transform else ""
        self._bad_images = bad_images
        self._batches = self._open(source, transform, batch_size)

    @property
    def expected(self) -> int | None:
        """How many images there are to come, where the source knows."""
        try:
            if isinstance(self._batches, DataLoader):
                return len(self._batches.dataset)  # type: ignore[arg-type]
            return sum(len(batch) for batch in self._batches)
        except TypeError:
            return None

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
        for item in self._batches:
            images, labels = _split(item)
            if images.numel() == 0:
                continue
            self._check(images)
            self._count += len(images)
            self._labelled += 0 if labels is None else len(labels)
            self._digest.update(images.detach().cpu().contiguous().view(torch.uint8).numpy().data)
            yield images, labels
        if self._count == 0:
            raise InputError("no images", where=self._describe, allowed=_WHAT_IMAGES_CAN_BE)

    def _open(self, source: object, transform: Transform | None, batch_size: int) -> Any:
        if isinstance(source, str | os.PathLike):
            source, transform = self._folder(Path(source), transform), None
        if isinstance(source, Tensor):
            self._describe = "tensor"
            return [source[at : at + batch_size] for at in range(0, len(source), batch_size)]
        if isinstance(source, DataLoader):
            self._describe = f"DataLoader of {type(source.dataset).__name__}"
            return source
        if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
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
            allowed=_WHAT_IMAGES_CAN_BE,
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
        labels = [label for _, label in pairs]
        known = None if any(label is None for label in labels) else torch.as_tensor(labels)
        return torch.stack(images), known

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
        self._shape = tuple(images.shape[1:])


class ImageFolder:
    """Image files below a folder, by name; one level of class folders gives labels.

    Items are (image, label) or image alone; a broken file is a :class:`Skip` where that is
    allowed and an :class:`InputError` that names it where it is not.
    """

    def __init__(self, path: Path, transform: Transform, *, skip_broken: bool = False) -> None:
        if not path.is_dir():
            raise InputError(
                "no such folder", where="images", got=str(path), allowed=_WHAT_IMAGES_CAN_BE
            )
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(
                "no image files",
                where=str(path),
                allowed="files ending in " + " ".join(IMAGE_SUFFIXES),
                next="Subfolders are searched; one a class gives labels.",
            )
        self.files, self._transform, self._skip_broken = files, transform, skip_broken
        nested = all(file.parent != path for file in files)
        folders = {file.relative_to(path).parts[0] for file in files} if nested else set()
        self.classes: list[str] = sorted(folders)
        self._root = path

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        file = self.files[index]
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            why = f"broken image file ({type(error).__name__})"
            if self._skip_broken:
                return Skip(what=str(file), why=why)
            raise InputError(
                why,
                where=str(file),
                next="Mend or remove it, or let broken files be skipped (pan_bad_images = skip).",
            ) from error
        tensor = self._transform(image)
        if not self.classes:
            return tensor
        return tensor, self.classes.index(file.relative_to(self._root).parts[0])


def imagenet_transform() -> Transform:
    """What a folder's images go through when no transform is given: torchvision's evaluation
    preset for ImageNet (resize 256, centre crop 224, mean and deviation of ImageNet).
    """
    from torchvision import transforms

    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    compose: Transform = transforms.Compose(steps)
    return compose


class _Transformed(Dataset[Any]):
    """A data set whose images go through a transform; labels stay."""

    def __init__(self, source: Any, transform: Transform) -> None:
        self._source, self._transform = source, transform

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        item = self._source[index]
        if isinstance(item, tuple | list):
            return self._transform(item[0]), *item[1:]
        return self._transform(item)


def _split(item: Any) -> tuple[Tensor, Any]:
    """The image(s) and the label(s) of what a data set or a loader gives."""
    label: Any = None
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
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
