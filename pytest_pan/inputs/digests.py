"""Whether a model or images are still what they were: digests of contents, not of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def fingerprint(thing: object) -> str:
    """A digest of a model's weights and geometry or of a tensor's values; empty for anything else,
    and for a model that has no values yet.
    """
    try:
        if isinstance(thing, nn.Module):
            return model_digest(thing)
        if isinstance(thing, Tensor):
            kind = f"{thing.dtype} {tuple(thing.shape)}".encode()
            return hashlib.sha256(kind + raw_bytes(thing)).hexdigest()
    except (RuntimeError, ValueError, NotImplementedError):  # lazy, meta: the audit will say so
        pass
    return ""


def model_digest(model: nn.Module) -> str:
    """SHA-256 of class names and geometry, and of the names, types, shapes and bytes of the
    state dict.
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        geometry = f"{path} {type(module).__qualname__}({module.extra_repr()})\n"
        digest.update(geometry.encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(raw_bytes(value))
    return digest.hexdigest()


def image_digests(images: Tensor) -> tuple[bytes, ...]:
    """SHA-256 of the type, shape and values of each image: images (N, ...)."""
    kind = f"{images.dtype} {tuple(images.shape[1:])}".encode()
    plain = images.detach().cpu().contiguous()
    return tuple(hashlib.sha256(kind + raw_bytes(image)).digest() for image in plain)


def combined(digests: Iterable[bytes]) -> str:
    """One digest of many images: SHA-256 of their own, in order, however they came in batches."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The values as they lie in memory, in the order of the indices."""
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        plain = plain.int_repr()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    flat = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    values: memoryview = flat.view(torch.uint8).numpy().data
    return values
