"""Reading a JSON report back: checked, with one line for whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pytest_pan.probes import table
from pytest_pan.records.audit import SCHEMA, Audit
from pytest_pan.records.completeness import Ran
from pytest_pan.records.errors import ConfigError

_FACTS = ("model", "images", "settings", "environment", "measures")


_FIRST = "pytest-pan/1"
SCHEMAS = (_FIRST, SCHEMA)
"""Those that are read; only the last one is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A JSON report as it was written; ``bodies`` are its audits, ``ran`` what was expected of
    its run, None where it does not say.
    """

    path: Path
    partial: str
    bodies: tuple[Mapping[str, Any], ...]
    ran: Ran | None

    def audits(self) -> tuple[Audit, ...]:
        """The audits as records. Raises :class:`ConfigError` where this version cannot make them,
        for one that another version wrote may have more in it, or less.
        """
        return tuple(_audit(self.path, n, body) for n, body in enumerate(self.bodies, start=1))


def read(path: Path) -> Report:
    """The report in that file; :class:`ConfigError` for a file that is none."""
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text, parse_constant=lambda constant: None)
    except OSError as error:
        raise ConfigError(
            "report", where=str(path), got=error.strerror or str(error), allowed="a file to read"
        ) from None
    except (ValueError, RecursionError) as error:
        _refuse(path, f"no JSON ({error})")
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema not in SCHEMAS:
        _refuse(path, f"schema {schema!r}" if schema else "JSON without a schema")
    bodies = body.get("audits")
    if not isinstance(bodies, list):
        _refuse(path, "no list of audits")
    for number, audit in enumerate(bodies, start=1):
        if why := _why_no_audit(audit):
            _refuse(path, f"audit {number} {why}")
    return Report(
        path=path,
        partial=str(body.get("partial") or ""),
        bodies=tuple(_upgraded(audit) if schema == _FIRST else audit for audit in bodies),
        ran=_ran(body.get("ran")),
    )


def _ran(body: Any) -> Ran | None:
    try:
        return Ran.from_json(body)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _upgraded(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an audit of the first schema as the present one has it: findings by probe, and none of
    probes that did not run.
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


def _why_no_audit(audit: object) -> str:
    """What an entry lacks to be compared; empty if nothing."""
    if not isinstance(audit, dict):
        return "is no object"
    for fact in _FACTS:
        if not isinstance(audit.get(fact), dict):
            return f"without {fact!r}"
    if not isinstance(audit["model"].get("name"), str):
        return "without the name of its model"
    for name, measured in audit["measures"].items():
        value = measured.get("value", "") if isinstance(measured, dict) else ""
        if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
            return f"without a value of {name!r}"
    return ""


def _audit(path: Path, number: int, body: Mapping[str, Any]) -> Audit:
    try:
        return table.read_audit(_undefined(body))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        wrote = body["environment"].get("pytest-pan")
        raise ConfigError(
            f"audit {number} is not as this version writes it ({type(error).__name__}: {error})",
            where=str(path),
            got=f"one by pytest-pan {wrote}",
            next="Write it anew with this version.",
        ) from None


_NUMBERS = ("sites", "classes", "ks", "ks_plus", "ks_minus")
_NUMBER = ("value", "bound", "error", "distance", "sample_influence")


def _undefined(value: Any, key: str = "") -> Any:
    """Null where the record has a number: the report writes it for what is undefined (NaN)."""
    if isinstance(value, dict):
        inner = _NUMBER[0] if key in _NUMBERS else ""
        return {name: _undefined(item, inner or name) for name, item in value.items()}
    if isinstance(value, list):
        return [_undefined(item, _NUMBER[0]) for item in value]
    return float("nan") if value is None and key in _NUMBER else value
