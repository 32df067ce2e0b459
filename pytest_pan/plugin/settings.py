"""Read settings and limits from the command line, the ini file, pyproject.toml and markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import pytest

from pytest_pan.config import limits as limit_table
from pytest_pan.config import pyproject
from pytest_pan.config.pyproject import FILE, Declared
from pytest_pan.config.settings import parsers
from pytest_pan.instrument.ranks import launched
from pytest_pan.probes import table
from pytest_pan.records.audit import Settings
from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.records.limits import Limit

Policy = Literal["fail", "warn", "pass"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""Outcome of a test with an inconclusive limit; ``warn`` counts it as inconclusive, not passed."""

POLICY = pytest.StashKey[Policy]()


def is_active(config: pytest.Config) -> bool:
    """Return whether audits run: ``--pan-audit``, or ``pan_audit = true`` in the ini file."""
    try:
        in_ini = config.getini("pan_audit")
    except (TypeError, ValueError, pytest.UsageError) as error:
        raise _wrong(in_ini_file(config, "pan_audit"), str(error), "true, false") from None
    return bool(config.getoption("pan_audit") or config.getoption("pan_suggest") or in_ini)


def torchrun_rank(config: pytest.Config) -> int:
    """Return the rank of this process under torchrun; 0 for a single process."""
    rank, count = launched()
    if count == 1:
        return 0
    if hasattr(config, "workerinput") or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "--pan-audit: torchrun and xdist do not work together: torchrun processes share each "
            "audit, xdist workers share the tests; use one of them (-n 0 turns xdist off)"
        )
    return rank


def read_declared(config: pytest.Config) -> Declared:
    """Read pyproject.toml, and the limits of the command line."""
    try:
        return pyproject.read(config.rootpath / FILE, config.getoption("pan_limit"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def command_line_settings(config: pytest.Config) -> set[str]:
    """Return the names of the settings that the command line sets."""
    return {name for name in parsers() if config.getoption(f"pan_{name}", None) is not None}


def read_settings(config: pytest.Config, declared: Mapping[str, Any]) -> Settings:
    """Return the run's settings: command line over ini file or ``[tool.pan]`` over default.

    Raises UsageError for a wrong value, and for a setting in both the ini file and ``[tool.pan]``.
    """
    values = dict(declared)
    for name, (parse, allowed) in parsers().items():
        key = f"pan_{name}"
        where = in_ini_file(config, key)
        try:
            text = config.getini(key)
        except (TypeError, ValueError) as error:
            raise _wrong(where, str(error), allowed) from None
        if name in declared and text not in (None, ""):
            raise _set_twice(where, text, name, declared[name])
        option = config.getoption(key, None)
        if option is not None:
            text, where = option, "--" + key.replace("_", "-")
        if text in (None, ""):
            continue
        try:
            values[name] = parse(str(text))
        except ValueError:
            raise _wrong(where, shortened(text), allowed) from None
    return Settings(**values)


def read_policy(config: pytest.Config, declared: Declared) -> Policy:
    """Return ``pan_inconclusive``: command line over ini file or ``[tool.pan]`` over warn."""
    key = "pan_inconclusive"
    where, allowed = in_ini_file(config, key), ", ".join(POLICIES)
    try:
        ini = config.getini(key)
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}; allowed: {allowed}") from None
    if ini and declared.inconclusive:
        raise _set_twice(where, ini, "inconclusive", declared.inconclusive)
    text = ini or declared.inconclusive or "warn"
    option = config.getoption(key)
    if option is not None:
        text, where = option, "--pan-inconclusive"
    for policy in POLICIES:
        if text == policy:
            return policy
    raise _wrong(where, shortened(text), allowed)


def in_ini_file(config: pytest.Config, key: str) -> str:
    """Return the place of an ini key, such as ``pan_theta in tox.ini``, for messages."""
    return f"{key} in {config.inipath.name if config.inipath else 'the ini file'}"


def where_set(config: pytest.Config, name: str, declared: Mapping[str, Any]) -> str:
    """Return the option, ini key or table that sets a setting, for messages."""
    if name in command_line_settings(config) or not (
        name in declared or config.getini(f"pan_{name}")
    ):
        return "--pan-" + name.replace("_", "-")
    where = f"{FILE} [tool.pan]"
    return where if name in declared else in_ini_file(config, f"pan_{name}")


def _wrong(where: str, got: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(str(ConfigError("setting", where=where, got=got, allowed=allowed)))


def _set_twice(where: str, in_ini: object, name: str, in_table: object) -> pytest.UsageError:
    return pytest.UsageError(
        f"{where}, got {shortened(in_ini)}, and {name} in {FILE} [tool.pan], got "
        f"{shortened(in_table)}: the setting is in two places; allowed: one of them"
    )


def probes_for(limits: Iterable[Limit]) -> tuple[str, ...]:
    """Return the probes that these limits need."""
    needed = {table.probe_of(limit.measure) for limit in limits}
    return tuple(name for name in table.names() if name in needed)


def combine_probes(*probes: Iterable[str]) -> tuple[str, ...]:
    """Return all of these probes without duplicates, in the order of the table of probes."""
    return table.selected(probe for names in probes for probe in names)


def limits_of_item(item: pytest.Item, global_limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return the limits of an item's ``pan`` markers; empty without a marker.

    The closest marker overrides the others, and all override the global limits. Raises UsageError
    for a wrong limit.
    """
    sources: list[tuple[Limit, ...]] = []
    for marker in item.iter_markers("pan"):
        origin = f"marker of {item.nodeid}"
        if marker.args:
            raise pytest.UsageError(
                f"{origin}: pan takes keyword arguments only, got {shortened(marker.args)}; "
                "allowed: max_<measure> and min_<measure>, such as max_pan_fraction=0.03"
            )
        try:
            parsed = [limit_table.limits(key, b, origin=origin) for key, b in marker.kwargs.items()]
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        sources.append(tuple(limit for limits in parsed for limit in limits))
    return limit_table.override(*sources, global_limits) if sources else ()
