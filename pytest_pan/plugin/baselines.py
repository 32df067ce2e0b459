"""The options about baselines: which folder, whether to write to it, limits that need one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_pan.config.options import UPDATE
from pytest_pan.config.pyproject import FILE, Declared
from pytest_pan.plugin.settings import in_ini_file
from pytest_pan.records.errors import ConfigError
from pytest_pan.records.limits import Limit

if TYPE_CHECKING:
    from pytest_pan.verdicts.baselines import Baselines


def refuse_update(config: pytest.Config) -> None:
    """UsageError for an update in a run that does not audit."""
    if config.getoption("pan_update_baseline"):
        raise pytest.UsageError(
            f"{UPDATE}: this run audits nothing, so there is nothing to write; allowed: beside "
            "--pan-audit, or pan_audit = true in the ini file"
        )


def read(config: pytest.Config, declared: Declared) -> Baselines | None:
    """The baselines of this run; None where no folder of them is named."""
    folder, where = _named(config, declared)
    update = bool(config.getoption("pan_update_baseline"))
    if not folder:
        if update:
            raise pytest.UsageError(
                f"{UPDATE}: no directory to write to; allowed: beside --pan-baseline=DIR, "
                f"pan_baseline in the ini file, or baseline in {FILE} [tool.pan]"
            )
        return None
    from pytest_pan.config.files import why_not_writable
    from pytest_pan.verdicts import baselines as baseline

    path = config.rootpath / folder
    try:
        found = baseline.read(path, shown=folder, where=where, update=update)
        why = why_not_writable(path / "any.json") if update else ""
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    except OSError as error:  # a folder that may not be looked into
        raise pytest.UsageError(f"{where}: baselines, got {folder}: {error.strerror}") from None
    if why:
        raise pytest.UsageError(f"{where}: baselines, got {folder}: {why}")
    return found


def _named(config: pytest.Config, declared: Declared) -> tuple[str, str]:
    """The folder, and where it was named."""
    where = in_ini_file(config, "pan_baseline")
    try:
        ini = str(config.getini("pan_baseline") or "")
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}; allowed: a directory") from None
    if ini and declared.baseline:
        raise pytest.UsageError(
            f"{where}, got {ini!r}, and baseline in {FILE} [tool.pan], got "
            f"{declared.baseline!r}: one setting in two places; allowed: one of them"
        )
    given = config.getoption("pan_baseline")
    if given is not None:
        if not given.strip():
            raise pytest.UsageError(
                f"--pan-baseline: baselines, got {given!r}; allowed: a directory"
            )
        return given, "--pan-baseline"
    return (ini, where) if ini else (declared.baseline, f"{FILE} [tool.pan] baseline")


def need(limits: Iterable[Limit], baselines: Baselines | None) -> None:
    """UsageError for a limit that is relative to a baseline in a run without any."""
    for limit in limits:
        if limit.relative and baselines is None:
            raise pytest.UsageError(
                str(
                    ConfigError(
                        f"bound of {limit.keyword}",
                        where=limit.origin,
                        got=repr(limit.relative),
                        allowed="a number, as this run has no baselines",
                        next="Name their directory: --pan-baseline=DIR, pan_baseline in the ini "
                        f"file, or baseline in {FILE} [tool.pan].",
                    )
                )
            )


def header(baselines: Baselines) -> str:
    """``pan: baselines in tests/baselines, 3 there, those of this run's audits to be written``"""
    there = f"pan: baselines in {baselines.shown}, {len(baselines.bodies)} there"
    return there + (", those of this run's audits to be written" if baselines.update else "")
