"""Baseline files: one JSON file per model, with the values that later audits are compared with.

The files are made for review in a diff: sorted keys, one rounded value per line, and nothing that
changes when the same audit runs again, such as times or paths.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_pan.config.files import write_text
from pytest_pan.config.options import update_command
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.verdicts.comparison import Body, settings_of_figures

SCHEMA = "pytest-pan-baseline/1"
"""Schema version of the files; incremented when a key changes its meaning or is removed."""

DIGITS = 6
"""Significant digits of a value; differences beyond them are machine noise."""

_RECORDED: Mapping[str, tuple[str, ...]] = {
    "model": ("name", "digest", "parameters"),
    "images": ("digest", "count", "shape", "labelled", "labels"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The contents of a baseline folder, by model name."""

    folder: Path
    shown: str
    """The folder as the user wrote it."""
    update: bool = False
    """Whether this run writes baselines."""
    bodies: Mapping[str, Body] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return the path of the model's file, which may not exist yet.

        A file with the model's usual name may belong to another model, if a user renamed it.
        """
        if name in self.paths:
            return self.paths[name]
        path = self.folder / file_name(name)
        return self.folder / digest_file_name(name) if path in self.paths.values() else path

    def file(self, name: str) -> str:
        """Return the path of the model's file as shown in messages."""
        return f"{self.shown.rstrip('/')}/{self.path(name).name}"


def read(folder: Path, *, shown: str, where: str, update: bool = False) -> Baselines:
    """Read all baselines of a folder, which may not exist yet.

    ``where`` is the setting that names the folder, for messages. Raises :class:`ConfigError` if the
    folder is a file, and for a file in it that is not a baseline of this version.
    """
    if folder.exists() and not folder.is_dir():
        got = f"{shown}, which is a file"
        raise ConfigError("baselines", where=where, got=got, allowed="a directory")
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")]
    found: dict[str, tuple[Path, Body]] = {}
    for path in paths:
        body = _read(path, f"{where}: {shown.rstrip('/')}/{path.name}", shown)
        name = body["model"]["name"]
        if name in found:
            raise ConfigError(
                "model.name",
                where=f"{where}: {shown.rstrip('/')}/{path.name}",
                got=f"{name!r}, which {found[name][0].name} also has",
                allowed="one file per model",
            )
        found[name] = path, body
    return Baselines(
        folder=folder,
        shown=shown,
        update=update,
        bodies={name: body for name, (_, body) in found.items()},
        paths={name: path for name, (path, _) in found.items()},
    )


def _read(path: Path, where: str, shown: str) -> Body:
    """Read a baseline of the folder ``shown``; ``where`` is its place, for messages."""
    advice = f"Restore it, or delete it and write a new one: {update_command(shown)}"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
        raise ConfigError("baseline", where=where, got=got, allowed="a readable file") from None
    except (ValueError, RecursionError) as error:
        got = f"invalid JSON ({' '.join(str(error).split())})"
        raise ConfigError("baseline", where=where, got=got, allowed="JSON", next=advice) from None
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema != SCHEMA:
        newer = isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0])
        raise ConfigError(
            "schema",
            where=where,
            got=shortened(schema),
            allowed=repr(SCHEMA),
            next="Another version of pytest-pan wrote it: use that version." if newer else advice,
        )
    for key, got, allowed in _mistakes(body):
        raise ConfigError(key, where=where, got=got, allowed=allowed, next=advice)
    return dict(body)


def _mistakes(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, value, allowed values) for each value that the schema does not allow."""
    for key in (*_RECORDED, "settings", "environment", "measures"):
        if not isinstance(body.get(key), dict):
            yield key, shortened(body.get(key)), "an object"
            return
    if not isinstance(name := body["model"].get("name"), str):
        yield "model.name", shortened(name), "a string"
    probes = body["settings"].get("probes")
    if not (isinstance(probes, list) and all(isinstance(probe, str) for probe in probes)):
        yield "settings.probes", shortened(probes), "a list of strings"
    for name, measured in body["measures"].items():
        if not isinstance(measured, dict):
            yield f"measures.{name}", shortened(measured), "an object"
            continue
        numbers = {"value": measured.get("value")}
        for part in ("sites", "classes"):
            if not isinstance(values := measured.get(part, {}), dict):
                yield f"measures.{name}.{part}", shortened(values), "an object"
                continue
            numbers |= {f"{part}.{key}": value for key, value in values.items()}
        for key, value in numbers.items():
            if not (value is None or _is_number(value)):
                yield f"measures.{name}.{key}", shortened(value), "a number or null"


def _is_number(value: Any) -> bool:
    """Return whether a value is a number within float range; JSON integers have no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300


def file_name(name: str) -> str:
    """Return a file name for a model, valid on all file systems and distinct for each model.

    It has a digest if some file system rejects the model's name or ignores its case.
    """
    if re.fullmatch(r"(?!-)[a-z0-9_.-]{1,60}(?<!\.)", name) and not _UNSAFE.fullmatch(name):
        return f"{name}.json"
    return digest_file_name(name)


def digest_file_name(name: str) -> str:
    """Return a file name with a digest of the model's name."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    data = name.encode("utf-8", errors="surrogatepass")
    return f"{plain or 'model'}-{hashlib.sha256(data).hexdigest()[:8]}.json"


_UNSAFE = re.compile(r"\..*|(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*-[0-9a-f]{8}")
"""Hidden files, Windows device names, and names that look as if they had a digest."""


def body_of(audit: Audit) -> dict[str, Any]:
    """Return an audit's baseline as plain JSON types."""
    found = audit.to_json()
    device = found["environment"]["device"]
    return {
        "schema": SCHEMA,
        **{part: {key: found[part].get(key) for key in keys} for part, keys in _RECORDED.items()},
        "settings": settings_of_figures(found),
        "environment": {**found["environment"], "device": re.sub(r"^cuda:\d+", "cuda", device)},
        "measures": _rounded(found["measures"]),
    }


def _rounded(value: Any) -> Any:
    """Round floats to :data:`DIGITS` significant digits; non-finite ones become None."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}")


def text_of(body: Body) -> str:
    """Return the text of a baseline file."""
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def restrict_to_probes(old: Body, probes: tuple[str, ...]) -> Body:
    """Return the baseline without the measures of other probes, which do not count as missing."""
    measures = {
        name: measured
        for name, measured in old["measures"].items()
        if table.probe_of(name) in probes
    }
    settings = {**old["settings"], "probes": list(probes)}
    return {**old, "measures": measures, "settings": settings}


def merge(old: Body | None, new: Body) -> tuple[Body, tuple[str, ...]]:
    """Add to the new body the old measures of probes that did not run.

    That is possible only if weights, images and everything else recorded are the same. If not,
    returns the names of the measures that overwriting the old body would lose.
    """
    probes = new["settings"]["probes"]
    old_only = {
        name: measured
        for name, measured in (old["measures"] if old else {}).items()
        if table.probe_of(name) not in probes
    }
    if old is None or not old_only:
        return new, ()
    both = {*probes, *old["settings"].get("probes", ())}
    settings = {"probes": [probe for probe in table.names() if probe in both]}
    merged = {
        **new,
        "settings": {**new["settings"], **settings},
        "measures": {**new["measures"], **old_only},
    }
    same = all(
        {**old[part], **settings} == {**merged[part], **settings}
        for part in (*_RECORDED, "settings", "environment")
    )
    return (merged, ()) if same else (new, tuple(old_only))


def write(baselines: Baselines, name: str, body: Body) -> str:
    """Write a model's file atomically; return unchanged, updated or written. Raises OSError."""
    path, text = baselines.path(name), text_of(body)
    exists = path.is_file()
    if exists and path.read_bytes().replace(b"\r\n", b"\n") == text.encode(
        errors="backslashreplace"
    ):
        return "unchanged"
    write_text(path, text)
    return "updated" if exists else "written"
