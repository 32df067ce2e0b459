"""The JSON report: what tools read, with its schema's version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_pan.records.audit import SCHEMA, Audit


def document(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    seconds: Mapping[str, float] | None = None,
    ran: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The document as plain JSON types; an undefined number is null. ``seconds`` of the run that
    are no audit's own; ``ran``: what was expected, and what came of it.
    """
    body = {
        "schema": SCHEMA,
        "created": created,
        "partial": partial,
        "ran": dict(ran or {}),
        "seconds": dict(seconds or {}),
        "audits": [audit.to_json() for audit in audits],
    }
    plain: dict[str, Any] = _nulls(body)
    return plain


def render(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    seconds: Mapping[str, float] | None = None,
    ran: Mapping[str, Any] | None = None,
) -> str:
    """The document as text."""
    body = document(audits, partial=partial, created=created, seconds=seconds, ran=ran)
    return json.dumps(body, separators=(",", ":"), allow_nan=False) + "\n"


def _nulls(value: Any) -> Any:
    """JSON has no NaN, and a reader must not have to know Python's extension for it."""
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
