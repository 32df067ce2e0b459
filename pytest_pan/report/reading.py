"""Reading and validation of JSON reports, with one-line errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pytest_pan.probes import table
from pytest_pan.records.audit import SCHEMA, Audit
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.records.text import cut
from pytest_pan.report import validation

ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors of building records from JSON of another shape."""

_FIRST = "pytest-pan/1"
SCHEMAS = (_FIRST, SCHEMA)
"""Schemas that can be read; only the last one is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """JSON report as written: ``bodies`` are its audits, ``ran`` is the run's summary, if any."""

    path: Path
    partial: str
    bodies: tuple[Mapping[str, Any], ...]
    ran: RunSummary | None

    def audits(self) -> tuple[Audit, ...]:
        """Return the audits as records.

        Raises :class:`ConfigError` if an audit was written by an incompatible version.
        """
        return tuple(_audit(self.path, n, body) for n, body in enumerate(self.bodies, start=1))


def read(path: Path) -> Report:
    """Read a report; raise :class:`ConfigError` if the file is not a report."""
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text, parse_constant=lambda constant: None)
    except OSError as error:
        raise ConfigError(
            "report", where=str(path), got=error.strerror or str(error), allowed="a file to read"
        ) from None
    except (ValueError, RecursionError) as error:
        _refuse(path, f"invalid JSON ({error})")
    if why := validation.unreadable(body):
        _refuse(path, why)
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema not in SCHEMAS:
        _refuse(path, f"schema {shortened(schema)}" if schema else "JSON without a schema")
    bodies = body.get("audits")
    if not isinstance(bodies, list):
        _refuse(path, "no list of audits")
    for number, audit in enumerate(bodies, start=1):
        _check(path, number, audit)
    partial = body.get("partial") or ""
    return Report(
        path=path,
        partial=partial if isinstance(partial, str) else shortened(partial),
        bodies=tuple(_upgraded(audit) if schema == _FIRST else audit for audit in bodies),
        ran=_ran(body.get("ran")),
    )


def _ran(body: Any) -> RunSummary | None:
    try:
        return RunSummary.from_json(body)
    except ERRORS:
        return None


def _upgraded(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert an audit from the first schema to the current one.

    Findings move under their probe's name; probes that did not run get none.
    """
    found = {key: body.get(key) for key in ("influence", "intrusion") if body.get(key)}
    rest = {k: v for k, v in body.items() if k not in ("convergence", "influence", "intrusion")}
    findings = {"pans": {"convergence": body.get("convergence") or []}, **found}
    top = {"influence": findings.pop("influence")} if "influence" in findings else {}
    return {**rest, "findings": findings, **top}


def _refuse(path: Path, got: str) -> NoReturn:
    raise ConfigError(
        "not a report",
        where=str(path),
        got=got,
        allowed=f"JSON of the schema {SCHEMA!r}",
        next="pytest --pan-audit --pan-report=json writes one.",
    )


def _check(path: Path, number: int, audit: object) -> None:
    """Raise :class:`ConfigError` for an audit that cannot be compared."""
    if not isinstance(audit, dict):
        _refuse(path, f"audit {number} is not an object but {shortened(audit)}")
    for where, got, allowed in validation.mistakes(audit):
        what = f"has no {where!r}"
        if got is not None:
            what = f"has {where!r} that is {shortened(got)}, not {allowed}"
        _refuse(path, f"audit {number} {what}")


def _audit(path: Path, number: int, body: Mapping[str, Any]) -> Audit:
    try:
        audit = table.read_audit(_undefined(body))
        why = validation.misfit(audit, Audit, "audit")
    except ERRORS as error:
        why = f"{type(error).__name__}: {error}"
    if not why:
        return audit
    wrote = body["environment"].get("pytest-pan")
    raise ConfigError(
        f"audit {number} cannot be read by this version ({cut(why)})",
        where=str(path),
        got=f"an audit written by pytest-pan {shortened(wrote) if wrote else 'of unknown version'}",
        next="Create the report again with this version.",
    )


_NUMBERS = ("sites", "classes", "ks", "ks_plus", "ks_minus")
_NUMBER = ("value", "bound", "error", "distance", "sample_influence")


def _undefined(value: Any, key: str = "") -> Any:
    """Convert null to NaN where the record has a number; the report writes null for NaN."""
    if isinstance(value, dict):
        inner = _NUMBER[0] if key in _NUMBERS else ""
        return {name: _undefined(item, inner or name) for name, item in value.items()}
    if isinstance(value, list):
        return [_undefined(item, _NUMBER[0]) for item in value]
    return float("nan") if value is None and key in _NUMBER else value
