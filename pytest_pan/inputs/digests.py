"""Digests of models and images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model: its class names and geometry, and the names, types, shapes
    and bytes of its state dict.
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        geometry = f"{path} {type(module).__qualname__}({_settings(module)})\n"
        digest.update(geometry.encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(raw_bytes(value))
    return digest.hexdigest()


def _settings(module: nn.Module) -> str:
    """Return what the module prints of itself, or the error that it raises."""
    try:
        return str(module.extra_repr())
    except Exception as error:  # a user's method
        return f"{type(error).__name__}: {error}"


def image_digests(images: Tensor) -> tuple[bytes, ...]:
    """Return the SHA-256 of the type, shape and values of each image: images (N, ...)."""
    kind = f"{images.dtype} {tuple(images.shape[1:])}".encode()
    plain = images.detach().cpu().contiguous() + 0  # no -0.0, which is the same image
    return tuple(hashlib.sha256(kind + raw_bytes(image)).digest() for image in plain)


def combined(digests: Iterable[bytes]) -> str:
    """Return one digest of many: SHA-256 of their own, in order, whatever the batch size."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of the values, in the order of the indices."""
    plain = tensor.detach().cpu()
    if plain.is_quantized:
        plain = plain.int_repr()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    flat = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    values: memoryview = flat.view(torch.uint8).numpy().data
    return values
