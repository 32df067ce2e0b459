"""What an inconclusive verdict does to the test that it belongs to: ``pan_inconclusive``."""

from __future__ import annotations

from typing import Literal, get_args

import pytest

from pytest_pan.config.pyproject import FILE, Declared
from pytest_pan.records.errors import ConfigError

Policy = Literal["fail", "warn", "pass"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""``warn``: the test is counted as inconclusive, not as passed, and the run does not fail."""

POLICY = pytest.StashKey[Policy]()

_KEY, _OPTION = "pan_inconclusive", "--pan-inconclusive"


def read(config: pytest.Config, declared: Declared) -> Policy:
    """Command line over ini file or ``[tool.pan]`` over warn; UsageError for a wrong value."""
    where = f"{_KEY} in {config.inipath.name if config.inipath else 'ini'}"
    try:
        ini, table = config.getini(_KEY), declared.inconclusive
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}; allowed: {', '.join(POLICIES)}") from None
    if ini and table:
        raise pytest.UsageError(
            f"{where}, got {ini!r}, and inconclusive in {FILE} [tool.pan], got {table!r}: one "
            "setting in two places; allowed: one of them"
        )
    given = config.getoption(_KEY)
    if given is not None:
        return _one(given, _OPTION)
    return _one(ini or table or "warn", where)


def _one(text: str, where: str) -> Policy:
    for policy in POLICIES:
        if text == policy:
            return policy
    allowed = ", ".join(POLICIES)
    raise pytest.UsageError(
        str(ConfigError("setting", where=where, got=repr(text), allowed=allowed))
    )
