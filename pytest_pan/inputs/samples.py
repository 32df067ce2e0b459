"""A few images of a source, and digests of what the source holds, to recognise it again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from pytest_pan.inputs import loading
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.values import Update, digest_values
from pytest_pan.instrument.gate import kept_randomness


def sample(images: Images, *, seed: int) -> list[Tensor]:
    """Load the first, the middle and the last image as a pass would: (C, H, W) each.

    Return none of a stream, whose images can be read only once. Raise what loading raises.
    """
    source = images.source
    items = _items(images)
    if isinstance(items, IterableDataset):
        return []
    if isinstance(items, list) and all(isinstance(each, Tensor) for each in items):
        items = [image for batch in items for image in (batch if batch.dim() == 4 else [batch])]
    count = len(items)
    places = sorted({0, count // 2, count - 1} & set(range(count)))
    collate = source.collate_fn if isinstance(source, DataLoader) else None
    reading = replace(images.reading, seed=seed)
    return list(loading.some(items, places, reading, collate=collate))


def facts_of_all(images: Images, *, seed: int) -> dict[str, Any]:
    """Read all images as an audit does, and return their facts, as far as they can be read.

    ``complete`` says whether all could be.
    """
    complete = True
    try:
        with kept_randomness(seed), torch.no_grad():  # as in the gate
            for _ in images:
                pass
    except Exception:  # the audit meets it again and reports it
        images.close()
        complete = False
    return {**images.facts(), "complete": complete}


def code_of(images: Images) -> tuple[object, ...]:
    """Return the objects whose source files decide what the images are."""
    items = _items(images)
    return (items, *(getattr(items, name, None) for name in ("transform", "transforms")))


def _items(images: Images) -> Any:
    """Return what single items are taken from."""
    source = images.source
    return source.dataset if isinstance(source, DataLoader) else source


def digest_contents(images: Images, update: Update) -> None:
    """Digest what the source holds in memory, and name, size and time of change of its files."""
    update(f"{images.description} {images.expected}".encode(errors="backslashreplace"))
    digest_values(images.source, update, files=True)
    digest_values(images.reading.picture, update)
