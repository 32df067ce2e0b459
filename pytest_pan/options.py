"""Command line, ini and marker names as frozen Settings and Limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pytest_pan import declared, measures
from pytest_pan.errors import ConfigError
from pytest_pan.measures import PROBES
from pytest_pan.plans import MODES, TASKS
from pytest_pan.ranks import launched
from pytest_pan.records import PRECISIONS, Limit, Settings

MARKER = (
    "pan(max_<measure>=..., min_<measure>=...): audit the padding of the model in the fixture "
    "pan_model on the images in pan_images, and fail beyond a limit, e.g. max_pan_fraction=0.03"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """One setting, on the command line as ``--pan-NAME`` and in the ini file as ``pan_NAME``."""

    name: str
    parse: Callable[[str], Any]
    allowed: str
    help: str
    cli: bool = True
    type: Literal["string", "int", "float"] = "string"
    """In the ini file: pytest's native TOML section gives numbers as numbers."""


def _theta(text: str) -> float:
    value = float(text)
    if not (0 < value <= 1) or math.isnan(value):
        raise ValueError(text)
    return value


def _from(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not least <= (value := int(text)) < 2**63:
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


_MODES = tuple(mode for mode in MODES if mode != "zeros")

_OPTIONS = (
    _Option(
        name="probes",
        parse=_probes,
        allowed=", ".join(PROBES),
        help="what to look for: pans (always), influence, intrusion; comma-separated. A limit on "
        "a measure of another probe asks for it by itself",
    ),
    _Option(
        name="mode",
        parse=_one_of(*_MODES),
        allowed=", ".join(_MODES),
        help="padding that the influence probe swaps in; reflect by default",
    ),
    _Option(
        name="draws",
        parse=_from(0),
        allowed="a whole number from 0",
        help="random neurons' draws that the influence probe compares with; 3 by default",
        type="int",
    ),
    _Option(
        name="task",
        parse=_one_of(*TASKS),
        allowed=", ".join(TASKS),
        help="what the outputs are, where their shape does not tell (multilabel, embedding)",
        cli=False,
    ),
    _Option(
        name="device",
        parse=str,
        allowed="auto, cpu, cuda, cuda:N",
        help="where the model runs: auto (the first GPU, else the CPU), cpu, cuda, cuda:N",
    ),
    _Option(
        name="precision",
        parse=_one_of(*PRECISIONS),
        allowed=", ".join(PRECISIONS),
        help="what the model computes in: float32 (default, TF32 off), tf32 (a GPU that has it), "
        "bfloat16 or float16 (autocast)",
    ),
    _Option(
        name="batch_size",
        parse=_from(1),
        allowed="a whole number from 1",
        help="images per forward pass (a DataLoader keeps its own); 32 by default",
        type="int",
    ),
    _Option(
        name="workers",
        parse=_workers,
        allowed="auto, a whole number from 0",
        help="processes that load a folder's or a Dataset's images (a DataLoader has its own); "
        "auto: up to 8 for files on their way to a GPU by the default transform, else none",
    ),
    _Option(
        name="theta",
        parse=_theta,
        allowed="a number above 0, up to 1",
        help="threshold of the Kolmogorov-Smirnov statistics; 0.5 by default, as published",
        type="float",
    ),
    _Option(
        name="seed",
        parse=_from(0),
        allowed="a whole number from 0",
        help="seed of everything random, such as a data set's random crops; 0 by default",
        type="int",
    ),
    _Option(
        name="bad_images",
        parse=_one_of("fail", "skip"),
        allowed="fail, skip",
        help="what a broken image file does: fail (default), or skip it and list it",
        cli=False,
    ),
    _Option(
        name="memory",
        parse=_from(1),
        allowed="a whole number of bytes from 1",
        help="bytes that activation samples may take; 4 GiB by default",
        cli=False,
        type="int",
    ),
)


def add(parser: pytest.Parser) -> None:
    """Declares every option, on the command line and in the ini file."""
    group = parser.getgroup("pan", "padding audit of CNNs (pytest-pan)")
    group.addoption(
        "--pan-audit",
        action="store_true",
        dest="pan_audit",
        default=None,
        help="run the padding audits; without it tests that need one are skipped",
    )
    parser.addini("pan_audit", "run the padding audits in every run", type="bool", default=False)
    group.addoption(
        "--pan-report",
        action="append",
        dest="pan_report",
        metavar="TYPE[:DEST]",
        default=[],
        help="write a report, html, json or markdown, to DEST (pan-report.html, .json, .md by "
        "default); markdown-append:FILE adds to a file, such as a CI job's summary; repeatable",
    )
    parser.addini("pan_report", "reports to write, TYPE[:DEST] each", type="args", default=[])
    group.addoption(
        declared.COMMAND_LINE,
        action="append",
        dest="pan_limit",
        metavar="LIMIT=NUMBER",
        default=[],
        help="hold every declared model and every test marked pan against a limit, e.g. "
        "max_pan_fraction=0.03, max_pan_fraction[features.1.*]=0.2; repeatable",
    )
    for option in _OPTIONS:
        if option.cli:
            flag = "--pan-" + option.name.replace("_", "-")
            group.addoption(
                flag, dest=f"pan_{option.name}", metavar="VALUE", default=None, help=option.help
            )
        parser.addini(f"pan_{option.name}", option.help, type=option.type, default=None)


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
    return {o.name for o in _OPTIONS if config.getoption(f"pan_{o.name}", None) is not None}


def settings(config: pytest.Config, table: Mapping[str, Any]) -> Settings:
    """The settings of this run: command line over ini file or ``[tool.pan]`` over default."""
    given = dict(table)
    for option in _OPTIONS:
        key = f"pan_{option.name}"
        flag = "--" + key.replace("_", "-")
        given_here = config.getoption(key, None)
        where = in_ini_file(config, key)
        try:
            text = config.getini(key)
        except (TypeError, ValueError) as error:
            raise _wrong(where, str(error), option.allowed) from None
        if option.name in table and text not in (None, ""):
            raise pytest.UsageError(
                f"{where}, got {text!r}, and {option.name} in {declared.FILE} [tool.pan], got "
                f"{table[option.name]!r}: one setting in two places; allowed: one of them"
            )
        if given_here is not None:
            text, where = given_here, flag
        if text in (None, ""):
            continue
        try:
            given[option.name] = option.parse(str(text))
        except ValueError:
            raise _wrong(where, repr(text), option.allowed) from None
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
