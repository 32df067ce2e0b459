"""JSON report for tools, with a schema version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_pan.probes import advice
from pytest_pan.records.audit import SCHEMA, Audit


def document(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    seconds: Mapping[str, float] | None = None,
    ran: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report as plain JSON types; NaN and infinity become null.

    ``seconds`` are times of the run that belong to no audit, ``ran`` is the summary of the run.
    """
    body = {
        "schema": SCHEMA,
        "created": created,
        "partial": partial,
        "ran": dict(ran or {}),
        "seconds": dict(seconds or {}),
        "audits": [
            audit.to_json() | {"advice": [each.to_json() for each in advice.ranked(audit)]}
            for audit in audits
        ],
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
    """Return the report as JSON text."""
    body = document(audits, partial=partial, created=created, seconds=seconds, ran=ran)
    return json.dumps(body, separators=(",", ":"), allow_nan=False) + "\n"


def _nulls(value: Any) -> Any:
    """Replace non-finite numbers by None, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
