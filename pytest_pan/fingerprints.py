"""Whether a model or images are still what they were: digests of contents, not of objects."""

from __future__ import annotations

import hashlib

from torch import Tensor, nn

from pytest_pan.inputs import model_facts, raw_bytes


def fingerprint(thing: object) -> str:
    """A digest of a model's weights and geometry or of a tensor's values; empty for anything else,
    and for a model that has no values yet.
    """
    try:
        if isinstance(thing, nn.Module):
            return str(model_facts(thing)["digest"])
        if isinstance(thing, Tensor):
            kind = f"{thing.dtype} {tuple(thing.shape)}".encode()
            return hashlib.sha256(kind + raw_bytes(thing)).hexdigest()
    except (RuntimeError, ValueError, NotImplementedError):  # lazy, meta: the audit will say so
        pass
    return ""
