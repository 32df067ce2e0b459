"""Baselines on disk: one JSON file a model, with the figures that later audits are held against.

A file is made to be reviewed in a diff: sorted keys, a figure a line, rounded, without times, paths
or anything else that is not the same when the same audit is made again.
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
from pytest_pan.config.options import UPDATE
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError
from pytest_pan.verdicts.comparison import Body, settings_of_figures

SCHEMA = "pytest-pan-baseline/1"
"""Version of the files; the number rises when a key changes its meaning or goes."""

DIGITS = 6
"""Significant digits of a figure: what differs beyond them is noise of the machine."""

_FACTS: Mapping[str, tuple[str, ...]] = {
    "model": ("name", "digest", "parameters"),
    "images": ("digest", "count", "shape", "labelled", "labels"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """What was found in a folder of baselines, by the models' names."""

    folder: Path
    shown: str
    """The folder as the user named it."""
    update: bool = False
    """Whether this run is to write what it finds."""
    bodies: Mapping[str, Body] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """The model's file, or where it is to be: not that of a model whose file was renamed."""
        if name in self.paths:
            return self.paths[name]
        path = self.folder / file_name(name)
        return self.folder / digested(name) if path in self.paths.values() else path

    def file(self, name: str) -> str:
        """The same as people read it."""
        return f"{self.shown.rstrip('/')}/{self.path(name).name}"


def read(folder: Path, *, shown: str, where: str, update: bool = False) -> Baselines:
    """All baselines of a folder; none where there is no folder yet.

    Raises :class:`ConfigError`, with ``where`` the folder was named, for what is no folder and for
    a file in it that is no baseline, or one of a newer version.
    """
    if folder.exists() and not folder.is_dir():
        got = f"{shown}, which is a file"
        raise ConfigError("baselines", where=where, got=got, allowed="a directory")
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")]
    found: dict[str, tuple[Path, Body]] = {}
    for path in paths:
        body = _read(path, f"{where}: {shown.rstrip('/')}/{path.name}")
        name = body["model"]["name"]
        if name in found:
            raise ConfigError(
                "model.name",
                where=f"{where}: {shown.rstrip('/')}/{path.name}",
                got=f"{name!r}, which {found[name][0].name} has too",
                allowed="one file a model",
            )
        found[name] = path, body
    return Baselines(
        folder=folder,
        shown=shown,
        update=update,
        bodies={name: body for name, (_, body) in found.items()},
        paths={name: path for name, (path, _) in found.items()},
    )


def _read(path: Path, where: str) -> Body:
    again = f"Restore it, or delete it and write it anew with {UPDATE}."
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
        raise ConfigError("baseline", where=where, got=got, allowed="a file to read") from None
    except (ValueError, RecursionError) as error:
        got = f"no JSON ({' '.join(str(error).split())})"
        raise ConfigError("baseline", where=where, got=got, allowed="JSON", next=again) from None
    schema = body.get("schema") if isinstance(body, dict) else None
    if schema != SCHEMA:
        newer = isinstance(schema, str) and schema.startswith(SCHEMA.rpartition("/")[0])
        raise ConfigError(
            "schema",
            where=where,
            got=repr(schema),
            allowed=repr(SCHEMA),
            next="Another version of pytest-pan wrote it: use that one." if newer else again,
        )
    for key, got, allowed in _mistakes(body):
        raise ConfigError(key, where=where, got=got, allowed=allowed, next=again)
    return dict(body)


def _mistakes(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, what it is and what it may be, for what no version of this schema has written."""
    for key in (*_FACTS, "settings", "environment", "measures"):
        if not isinstance(body.get(key), dict):
            yield key, repr(body.get(key)), "an object"
            return
    if not isinstance(name := body["model"].get("name"), str):
        yield "model.name", repr(name), "a text"
    probes = body["settings"].get("probes")
    if not (isinstance(probes, list) and all(isinstance(probe, str) for probe in probes)):
        yield "settings.probes", repr(probes), "a list of texts"
    for name, measured in body["measures"].items():
        if not isinstance(measured, dict):
            yield f"measures.{name}", repr(measured), "an object"
            continue
        numbers = {"value": measured.get("value")}
        for part in ("sites", "classes"):
            if not isinstance(of := measured.get(part, {}), dict):
                yield f"measures.{name}.{part}", repr(of), "an object"
                continue
            numbers |= {f"{part}.{key}": value for key, value in of.items()}
        for key, value in numbers.items():
            if not (value is None or _is_number(value)):
                yield f"measures.{name}.{key}", repr(value), "a number, or null"


def _is_number(value: Any) -> bool:
    """Whether it is a number that a figure can be; JSON has whole numbers of any length."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300


def file_name(name: str) -> str:
    """A file's name for a model's: the same on every file system, another for another model.

    A name that some system would not take as it is, or take for another's (case), gets a digest.
    """
    if re.fullmatch(r"(?!-)[a-z0-9_.-]{1,60}(?<!\.)", name) and not _RISKY.fullmatch(name):
        return f"{name}.json"
    return digested(name)


def digested(name: str) -> str:
    """A file's name with a digest of the model's, which no other model has."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    data = name.encode("utf-8", errors="surrogatepass")
    return f"{plain or 'model'}-{hashlib.sha256(data).hexdigest()[:8]}.json"


_RISKY = re.compile(r"\..*|(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*-[0-9a-f]{8}")
"""Hidden files, devices of Windows, and what could be a name with a digest."""


def body_of(audit: Audit) -> dict[str, Any]:
    """What a baseline keeps of an audit, as plain JSON types."""
    found = audit.to_json()
    return {
        "schema": SCHEMA,
        **{part: {key: found[part].get(key) for key in keys} for part, keys in _FACTS.items()},
        "settings": settings_of_figures(found),
        "environment": {**found["environment"], "device": _any(found["environment"]["device"])},
        "measures": _rounded(found["measures"]),
    }


def _any(device: str) -> str:
    """``cuda (NVIDIA H100)``: of several GPUs of a kind, which one it was is the run's affair."""
    return re.sub(r"^cuda:\d+", "cuda", device)


def _rounded(value: Any) -> Any:
    """Figures to :data:`DIGITS` significant digits, whole numbers whole, undefined ones null."""
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
    """The file's text."""
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def restricted(old: Body, probes: tuple[str, ...]) -> Body:
    """The baseline without what an audit with these probes never measures: of a run that only
    asked for PANs, the odds are not missing.
    """
    measures = {
        name: measured
        for name, measured in old["measures"].items()
        if table.probe_of(name) in probes
    }
    both = {"probes": list(probes)}
    return {**old, "measures": measures, "settings": {**old["settings"], **both}}


def united(old: Body | None, new: Body) -> tuple[Body, tuple[str, ...]]:
    """The new body with what only the old one measured, by probes that did not run now.

    That is kept where weights, images and all else are the same; where they are not it cannot be,
    and the second part names those measures: the new body must not be written over the old one.
    """
    probes = new["settings"]["probes"]
    kept = {
        name: measured
        for name, measured in (old["measures"] if old else {}).items()
        if table.probe_of(name) not in probes
    }
    if old is None or not kept:
        return new, ()
    every = {*probes, *old["settings"].get("probes", ())}
    settings = {"probes": [probe for probe in table.names() if probe in every]}
    whole = {
        **new,
        "settings": {**new["settings"], **settings},
        "measures": {**new["measures"], **kept},
    }
    same = all(
        {**old[part], **settings} == {**whole[part], **settings}
        for part in (*_FACTS, "settings", "environment")
    )
    return (whole, ()) if same else (new, tuple(kept))


def write(baselines: Baselines, name: str, body: Body) -> str:
    """Writes a model's file, whole or not at all, and says what became of it. Raises OSError."""
    path, text = baselines.path(name), text_of(body)
    there = path.is_file()
    if there and path.read_bytes().replace(b"\r\n", b"\n") == text.encode(
        errors="backslashreplace"
    ):
        return "unchanged"
    write_text(path, text)
    return "updated" if there else "written"
