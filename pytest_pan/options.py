"""Command line, ini and marker names as frozen Settings and Limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from pytest_pan import declared, measures
from pytest_pan.errors import ConfigError
from pytest_pan.measures import PROBES
from pytest_pan.plans import MOST_DRAWS, SWAPPED_IN, TASKS
from pytest_pan.ranks import launched
from pytest_pan.records import PRECISIONS, Limit, Settings


def _theta(text: str) -> float:
    value = float(text)
    if not (0 < value <= 1) or math.isnan(value):
        raise ValueError(text)
    return value


def _from(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not least <= (value := int(text)) <= most:
            raise ValueError(text)
        return value

    return parse


def _workers(text: str) -> int | None:
    return None if text == "auto" else _from(0)(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return parse


def _probes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(PROBES):
        raise ValueError(text)
    return tuple(name for name in PROBES if name in names or name == "pans")


_OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "probes": (_probes, ", ".join(PROBES)),
    "mode": (_one_of(*SWAPPED_IN), ", ".join(SWAPPED_IN)),
    "draws": (_from(0, MOST_DRAWS), f"a whole number from 0 to {MOST_DRAWS}"),
    "task": (_one_of(*TASKS), ", ".join(TASKS)),
    "device": (str, "auto, cpu, cuda, cuda:N"),
    "precision": (_one_of(*PRECISIONS), ", ".join(PRECISIONS)),
    "batch_size": (_from(1), "a whole number from 1"),
    "workers": (_workers, "auto, a whole number from 0"),
    "theta": (_theta, "a number above 0, up to 1"),
    "seed": (_from(0), "a whole number from 0"),
    "bad_images": (_one_of("fail", "skip"), "fail, skip"),
    "memory": (_from(1), "a whole number of bytes from 1"),
}
"""Of each setting how its text is read, and what it may be."""


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
    return {name for name in _OPTIONS if config.getoption(f"pan_{name}", None) is not None}


def settings(config: pytest.Config, table: Mapping[str, Any]) -> Settings:
    """The settings of this run: command line over ini file or ``[tool.pan]`` over default."""
    given = dict(table)
    for name, (parse, allowed) in _OPTIONS.items():
        key = f"pan_{name}"
        flag = "--" + key.replace("_", "-")
        given_here = config.getoption(key, None)
        where = in_ini_file(config, key)
        try:
            text = config.getini(key)
        except (TypeError, ValueError) as error:
            raise _wrong(where, str(error), allowed) from None
        if name in table and text not in (None, ""):
            raise pytest.UsageError(
                f"{where}, got {text!r}, and {name} in {declared.FILE} [tool.pan], got "
                f"{table[name]!r}: one setting in two places; allowed: one of them"
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


def place(config: pytest.Config, name: str, table: Mapping[str, Any]) -> str:
    """Where that setting of this run was given, for messages."""
    if name in on_command_line(config) or not (name in table or config.getini(f"pan_{name}")):
        return "--pan-" + name.replace("_", "-")
    where = f"{declared.FILE} [tool.pan]"
    return where if name in table else in_ini_file(config, f"pan_{name}")


def _wrong(where: str, got: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(str(ConfigError("setting", where=where, got=got, allowed=allowed)))


def probes_for(limits: Iterable[Limit]) -> tuple[str, ...]:
    """The probes that these limits need besides what the settings ask for."""
    needed = {measures.find(limit.measure).probe for limit in limits}
    return tuple(probe for probe in PROBES if probe in needed)


def joined(*probes: Iterable[str]) -> tuple[str, ...]:
    """All of these probes, each once, in their order."""
    asked = {probe for each in probes for probe in each}
    return tuple(probe for probe in PROBES if probe in asked)


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
            own = [measures.limits(key, b, origin=origin) for key, b in marker.kwargs.items()]
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        places.append(tuple(limit for group in own for limit in group))
    return measures.nearest(*places, everywhere) if places else ()
