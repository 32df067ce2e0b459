"""Command line, ini and marker names as frozen Settings and Limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_pan.config import limits as limit_table
from pytest_pan.config import pyproject as declared
from pytest_pan.config.settings import parsers
from pytest_pan.instrument.ranks import launched
from pytest_pan.probes import table
from pytest_pan.records.audit import Settings
from pytest_pan.records.errors import ConfigError
from pytest_pan.records.limits import Limit


def active(config: pytest.Config) -> bool:
    """Whether audits run: ``--pan-audit``, or ``pan_audit = true`` in the ini file."""
    try:
        in_ini = config.getini("pan_audit")
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise _wrong(in_ini_file(config, "pan_audit"), str(error), "true, false") from None
    return bool(config.getoption("pan_audit") or in_ini)


def rank(config: pytest.Config) -> int:
    """Which of several processes this is, as torchrun numbers them; 0 where it is the only one."""
    rank, count = launched()
    if count == 1:
        return 0
    if hasattr(config, "workerinput") or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "--pan-audit: the processes of torchrun share each audit, those of xdist share the "
            "tests; use one of them (-n 0 turns xdist off)"
        )
    return rank


def read_declared(config: pytest.Config) -> declared.Declared:
    """What pyproject.toml declares, with the command line's limits."""
    try:
        return declared.read(config.rootpath / declared.FILE, config.getoption("pan_limit"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def on_command_line(config: pytest.Config) -> set[str]:
    """The names of the settings that the command line gives."""
    return {name for name in parsers() if config.getoption(f"pan_{name}", None) is not None}


def settings(config: pytest.Config, declared_settings: Mapping[str, Any]) -> Settings:
    """The settings of this run: command line over ini file or ``[tool.pan]`` over default."""
    given = dict(declared_settings)
    for name, (parse, allowed) in parsers().items():
        key = f"pan_{name}"
        flag = "--" + key.replace("_", "-")
        given_here = config.getoption(key, None)
        where = in_ini_file(config, key)
        try:
            text = config.getini(key)
        except (TypeError, ValueError) as error:
            raise _wrong(where, str(error), allowed) from None
        if name in declared_settings and text not in (None, ""):
            raise pytest.UsageError(
                f"{where}, got {text!r}, and {name} in {declared.FILE} [tool.pan], got "
                f"{declared_settings[name]!r}: one setting in two places; allowed: one of them"
            )
        if given_here is not None:
            text, where = given_here, flag
        if text in (None, ""):
            continue
        try:
            given[name] = parse(str(text))
        except ValueError:
            raise _wrong(where, repr(text), allowed) from None
    return Settings(**given)


def in_ini_file(config: pytest.Config, key: str) -> str:
    """``pan_theta in tox.ini``, for messages."""
    return f"{key} in {config.inipath.name if config.inipath else 'the ini file'}"


def place(config: pytest.Config, name: str, declared_settings: Mapping[str, Any]) -> str:
    """Where that setting of this run was given, for messages."""
    if name in on_command_line(config) or not (
        name in declared_settings or config.getini(f"pan_{name}")
    ):
        return "--pan-" + name.replace("_", "-")
    where = f"{declared.FILE} [tool.pan]"
    return where if name in declared_settings else in_ini_file(config, f"pan_{name}")


def _wrong(where: str, got: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(str(ConfigError("setting", where=where, got=got, allowed=allowed)))


def probes_for(limits: Iterable[Limit]) -> tuple[str, ...]:
    """The probes that these limits need besides what the settings ask for."""
    needed = {table.probe_of(limit.measure) for limit in limits}
    return tuple(name for name in table.names() if name in needed)


def joined(*probes: Iterable[str]) -> tuple[str, ...]:
    """All of these probes, each once, in their order."""
    return table.selected(probe for each in probes for probe in each)


def limits(item: pytest.Item, everywhere: Iterable[Limit]) -> tuple[Limit, ...]:
    """The limits of an item's ``pan`` markers, the nearest over the others, and those of every
    audit after them; none without a marker. UsageError for a wrong one.
    """
    places: list[tuple[Limit, ...]] = []
    for marker in item.iter_markers("pan"):
        origin = f"marker of {item.nodeid}"
        if marker.args:
            raise pytest.UsageError(
                f"{origin}: pan takes keywords only, got {marker.args!r}; "
                "allowed: max_<measure> and min_<measure>, such as max_pan_fraction=0.03"
            )
        try:
            own = [limit_table.limits(key, b, origin=origin) for key, b in marker.kwargs.items()]
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        places.append(tuple(limit for group in own for limit in group))
    return limit_table.nearest(*places, everywhere) if places else ()
