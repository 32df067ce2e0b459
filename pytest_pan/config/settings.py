"""Parse settings from text, and check their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pytest_pan.probes import table
from pytest_pan.records.audit import PRECISIONS, Settings
from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.records.plans import MAX_DRAWS, SWAP_MODES, TASKS


def check(settings: Settings) -> None:
    """Raise :class:`ConfigError` for an invalid setting."""
    if any(probe not in table.choices() for probe in settings.probes):
        raise ConfigError(
            "probes", got=", ".join(map(str, settings.probes)), allowed=", ".join(table.choices())
        )
    number = isinstance(settings.theta, int | float) and not isinstance(settings.theta, bool)
    if not (number and 0 < settings.theta <= 1):
        raise ConfigError("theta", got=shortened(settings.theta), allowed="above 0, up to 1")
    for key, known in (("mode", SWAP_MODES), ("task", TASKS), ("precision", PRECISIONS)):
        if getattr(settings, key) not in known:
            raise ConfigError(key, got=shortened(getattr(settings, key)), allowed=", ".join(known))
    if settings.bad_images not in ("fail", "skip"):
        raise ConfigError("bad_images", got=shortened(settings.bad_images), allowed="fail, skip")
    for key in ("batch_size", "memory"):
        value = getattr(settings, key)
        if type(value) is not int or not 1 <= value < 2**63:
            raise ConfigError(key, got=shortened(value), allowed="a whole number from 1")
    workers = settings.workers
    if workers is not None and (type(workers) is not int or not 0 <= workers < 2**31):
        raise ConfigError("workers", got=shortened(workers), allowed="None, a whole number from 0")
    if type(settings.draws) is not int or not 0 <= settings.draws <= MAX_DRAWS:
        allowed = f"a whole number from 0 to {MAX_DRAWS}"
        raise ConfigError("draws", got=shortened(settings.draws), allowed=allowed)
    number = isinstance(settings.support, int | float) and not isinstance(settings.support, bool)
    if not (number and 0 <= settings.support < math.inf):
        raise ConfigError("support", got=shortened(settings.support), allowed="a number from 0")
    if type(settings.seed) is not int or not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", got=shortened(settings.seed), allowed="a whole number from 0")


def _theta(text: str) -> float:
    value = float(text)
    if not (0 < value <= 1) or math.isnan(value):
        raise ValueError(text)
    return value


def _support(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _integer(low: int, high: int = 2**63 - 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= (value := int(text)) <= high:
            raise ValueError(text)
        return value

    return parse


def _workers(text: str) -> int | None:
    return None if text == "auto" else _integer(0, 2**31 - 1)(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return parse


def _probes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(table.choices()):
        raise ValueError(text)
    return table.selected(names)


Parser = tuple[Callable[[str], Any], str]
"""A function that parses a text or raises ValueError, and a text that says what is allowed."""


_PARSERS: dict[str, Parser] = {
    "mode": (_one_of(*SWAP_MODES), ", ".join(SWAP_MODES)),
    "draws": (_integer(0, MAX_DRAWS), f"a whole number from 0 to {MAX_DRAWS}"),
    "support": (_support, "a number from 0"),
    "task": (_one_of(*TASKS), ", ".join(TASKS)),
    "device": (str, "auto, cpu, cuda, cuda:N"),
    "precision": (_one_of(*PRECISIONS), ", ".join(PRECISIONS)),
    "batch_size": (_integer(1), "a whole number from 1"),
    "workers": (_workers, "auto, a whole number from 0"),
    "theta": (_theta, "a number above 0, up to 1"),
    "seed": (_integer(0), "a whole number from 0"),
    "bad_images": (_one_of("fail", "skip"), "fail, skip"),
    "memory": (_integer(1), "a whole number of bytes from 1"),
}


def parsers() -> Mapping[str, Parser]:
    """Return the parser of each setting."""
    return _PARSERS | {"probes": (_probes, ", ".join(table.choices()))}
