"""Read ``[tool.pan]`` of pyproject.toml, and limits of ``--pan-limit``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_pan.config import limits as limit_table
from pytest_pan.config.limits import RELATIVE_BOUNDS, parse_relative
from pytest_pan.config.options import LIMIT
from pytest_pan.config.settings import check
from pytest_pan.probes import table as probe_table
from pytest_pan.records.audit import Settings
from pytest_pan.records.errors import ConfigError, did_you_mean, shortened
from pytest_pan.records.limits import Limit
from pytest_pan.records.text import cut

FILE = "pyproject.toml"

_SPEC = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_SPECS = {
    "transform": "attribute",
    "outputs": "attribute",
    "classes": "attribute",
    "large_images": "callable",
}
_MODEL_KEYS = ("model", "arguments", "images", "groups", *_SPECS, "limits")
_LIMITS = "a table, such as { max_pan_fraction = 0.03 }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model declared in ``[tool.pan.models.NAME]``."""

    name: str
    model: str
    """``module:callable``."""
    images: str
    """A folder, relative to pyproject.toml, or ``module:callable``."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    transform: str = ""
    """``module:attribute``, as are ``outputs`` and ``classes``."""
    outputs: str = ""
    classes: str = ""
    large_images: str = ""
    """``module:callable``."""
    groups: str = ""
    """``module:attribute``, or a regular expression for the file names of a folder."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this model only."""
    limits: tuple[Limit, ...] = ()
    line: int = 0
    """Line of its table in the file, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Settings, limits and models of pyproject.toml, and limits of the command line."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    models: tuple[Model, ...] = ()
    command_line: tuple[Limit, ...] = ()
    inconclusive: str = ""
    """Policy for inconclusive verdicts; empty if not set."""
    baseline: str = ""
    """Baseline folder, relative to the file; empty if not set."""

    @property
    def global_limits(self) -> tuple[Limit, ...]:
        """Limits of all audits: those of the command line override those of the file."""
        return limit_table.override(self.command_line, self.limits)

    def limits_of(self, model: Model) -> tuple[Limit, ...]:
        """Return a declared model's limits: command line over the model's table over the file."""
        return limit_table.override(self.command_line, model.limits, self.limits)


def read(file: Path, command_line: Iterable[str] = ()) -> Declared:
    """Read the file and parse the limits of the command line; raise :class:`ConfigError`.

    A missing file, or one without ``[tool.pan]``, declares nothing.
    """
    limits = command_line_limits(command_line)
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if "pan" not in text:  # saves parsing most files
        return Declared(command_line=limits)
    try:
        tool = tomllib.loads(text).get("tool", {})
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise ConfigError(f"invalid TOML: {error}", where=FILE) from None
    table = tool.get("pan", {}) if isinstance(tool, Mapping) else {}
    where = f"{FILE} [tool.pan]"
    table = _table("pan", table, where, "a table")
    keys = ("limits", "models", "inconclusive", "baseline")
    _refuse_unknown_keys(table, (*keys, *Settings.__slots__), where)
    models = _table("models", table.get("models", {}), where, "tables [tool.pan.models.NAME]")
    found = Declared(
        settings=_settings(table, where),
        limits=_limits(table, where),
        models=tuple(_model(name, entry, text) for name, entry in models.items()),
        command_line=limits,
        inconclusive=_inconclusive(table, where),
        baseline=_folder(table, where),
    )
    for model in found.models:
        if not found.limits_of(model):
            raise ConfigError(
                "no limit, so nothing would be checked",
                where=model_table(model.name),
                next="Write limits = { max_pan_fraction = 0.03 }.",
            )
    return found


def command_line_limits(texts: Iterable[str]) -> tuple[Limit, ...]:
    """Parse limits such as ``max_pan_fraction=0.03`` or ``max_pan_fraction[features.1.*]=0.2``.

    The last of several limits with the same name counts.
    """
    whole: dict[str, float | str] = {}
    parts: dict[str, dict[str, float | str]] = {}
    for text in texts:
        where = f"{LIMIT}={cut(text)}"
        name, equals, number = text.rpartition("=")
        if not (name and equals):
            example = "max_pan_fraction=0.03, max_pan_fraction[features.1.*]=0.2"
            raise ConfigError("limit", where=where, got=shortened(text), allowed=f"e.g. {example}")
        bound = _number(name, number, where)
        split = re.fullmatch(r"(\w+)\[(.+)\]", name)
        keyword, part = split.groups() if split else (name, "")
        limit_table.limits(keyword, {part: bound} if part else bound, origin=where)
        if part:
            parts.setdefault(keyword, {})[part] = bound
        else:
            whole[keyword] = bound
    return tuple(
        limit
        for keyword, bounds in (*whole.items(), *parts.items())
        for limit in limit_table.limits(keyword, bounds, origin=LIMIT)
    )


def _number(name: str, text: str, where: str) -> float | str:
    """Return a number, or the text of a bound relative to a baseline."""
    if parse_relative(text):
        return text
    try:
        return float(text)
    except ValueError:
        allowed = f"a number, {RELATIVE_BOUNDS}"
        what = f"bound of {name}"
        raise ConfigError(what, where=where, got=shortened(text), allowed=allowed) from None


def _model(name: str, entry: object, text: str) -> Model:
    where = model_table(name)
    if not name or "::" in name or not name.isprintable():
        allowed = "printable text without '::'"
        raise ConfigError("model name", where=where, got=shortened(name), allowed=allowed)
    table = _table("model", entry, where, "a table")
    _refuse_unknown_keys(table, (*_MODEL_KEYS, *Settings.__slots__), where)
    for key, example in (("model", '"torchvision.models:mobilenet_v2"'), ("images", '"a/folder"')):
        if key not in table:
            raise ConfigError(f"no {key}", where=where, next=f"Write {key} = {example}.")
    images = table["images"]
    if not isinstance(images, str) or not images:
        allowed = "a folder, or 'module:callable'"
        raise ConfigError("images", where=where, got=shortened(images), allowed=allowed)
    groups = table.get("groups", "")
    if not isinstance(groups, str) or ("groups" in table and not groups):
        allowed = "'module:attribute', or a regular expression for the paths of files"
        raise ConfigError("groups", where=where, got=shortened(groups), allowed=allowed)
    arguments = table.get("arguments", {})
    return Model(
        name=name,
        model=_spec("model", table["model"], where, "callable"),
        images=images,
        groups=groups,
        arguments=_table("arguments", arguments, where, "a table of the callable's arguments"),
        **{
            key: _spec(key, table[key], where, kind) for key, kind in _SPECS.items() if key in table
        },
        settings=_settings(table, where),
        limits=_limits(table, where),
        line=_line(name, text),
    )


def model_table(name: str) -> str:
    """Return the place of a model's declaration, for messages."""
    is_bare_key = re.fullmatch(r"[\w-]+", name)
    return f"{FILE} [tool.pan.models.{name if is_bare_key else repr(name)}]"


def is_spec(text: str) -> bool:
    """Return whether a text has the form ``module:callable``."""
    return _SPEC.fullmatch(text) is not None


def _spec(key: str, value: object, where: str, kind: str) -> str:
    if not isinstance(value, str) or not is_spec(value):
        raise ConfigError(key, where=where, got=shortened(value), allowed=f"'module:{kind}'")
    return value


def _table(key: str, value: object, where: str, allowed: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, where=where, got=shortened(value), allowed=allowed)
    return value


def _refuse_unknown_keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"unknown key {key!r}",
                where=where,
                got=shortened(value),
                allowed=", ".join(known),
                next=did_you_mean(key, known),
            )


def _limits(table: Mapping[str, Any], where: str) -> tuple[Limit, ...]:
    bounds = _table("limits", table.get("limits", {}), where, _LIMITS)
    return tuple(
        limit
        for keyword, bound in bounds.items()
        for limit in limit_table.limits(keyword, bound, origin=where)
    )


def _inconclusive(table: Mapping[str, Any], where: str) -> str:
    allowed = ("fail", "warn", "pass")
    if (value := table.get("inconclusive", "")) not in ("", *allowed):
        what = "inconclusive"
        raise ConfigError(what, where=where, got=shortened(value), allowed=", ".join(allowed))
    return str(value)


def _folder(table: Mapping[str, Any], where: str) -> str:
    folder = table.get("baseline", "")
    if not isinstance(folder, str) or ("baseline" in table and not folder.strip()):
        raise ConfigError("baseline", where=where, got=shortened(folder), allowed="a directory")
    return folder


def _settings(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = [name for name in Settings.__slots__ if name in table]
    return {name: _setting(name, table[name], where) for name in names}


def _setting(name: str, value: Any, where: str) -> Any:
    """Return a checked value for :class:`Settings`; a number in quotes is refused."""
    if name == "workers" and value == "auto":
        return None
    if name == "device" and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
        allowed = "auto, cpu, cuda, cuda:N"
        raise ConfigError(name, where=where, got=shortened(value), allowed=allowed)
    if name == "probes":
        if not isinstance(value, list) or not set(map(str, value)) <= set(probe_table.choices()):
            allowed = f"a list of {', '.join(probe_table.choices())}"
            raise ConfigError(name, where=where, got=shortened(value), allowed=allowed)
        value = probe_table.selected(value)
    try:
        check(replace(Settings(), **{name: value}))
    except ConfigError as error:
        raise ConfigError(error.what, where=where, got=error.got, allowed=error.allowed) from None
    return value


def _line(name: str, text: str) -> int:
    """Return the line of the model's table header; 0 if the table has another form."""
    head = re.compile(rf"\[\s*tool\.pan\.models\.([\"']?){re.escape(name)}\1\s*\]")
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines) if head.match(line.strip())), 0)
