"""Baseline options: the directory, whether to update it, and limits that need it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_pan.config.options import UPDATE
from pytest_pan.config.pyproject import FILE, Declared
from pytest_pan.plugin.settings import in_ini_file
from pytest_pan.records.errors import ConfigError, shortened
from pytest_pan.records.limits import Limit
from pytest_pan.records.text import escaped, plural

if TYPE_CHECKING:
    from pytest_pan.verdicts.baselines import Baselines


def refuse_update(config: pytest.Config) -> None:
    """Raise UsageError if a run without audits is to update baselines."""
    if config.getoption("pan_update_baseline"):
        raise pytest.UsageError(
            f"{UPDATE}: audits are off, so there is no baseline to write; allowed: with "
            "--pan-audit, or with pan_audit = true in the ini file"
        )


def read(config: pytest.Config, declared: Declared) -> Baselines | None:
    """Read the baselines; None if no directory is set. Raise UsageError for a wrong one."""
    folder, where = _directory(config, declared)
    update = bool(config.getoption("pan_update_baseline"))
    if not folder:
        if update:
            raise pytest.UsageError(
                f"{UPDATE}: no directory to write to; allowed: with --pan-baseline=DIR, "
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
    except OSError as error:  # no permission to read the directory
        raise pytest.UsageError(
            f"{where}: baselines, got {shortened(folder)}: {error.strerror}"
        ) from None
    if why:
        raise pytest.UsageError(f"{where}: baselines, got {shortened(folder)}: {escaped(why)}")
    return found


def _directory(config: pytest.Config, declared: Declared) -> tuple[str, str]:
    """Return the directory, empty if none is set, and the option or key that sets it."""
    where = in_ini_file(config, "pan_baseline")
    try:
        ini = str(config.getini("pan_baseline") or "")
    except TypeError as error:
        raise pytest.UsageError(f"{where}: {error}; allowed: a directory") from None
    if ini and declared.baseline:
        raise pytest.UsageError(
            f"{where}, got {ini!r}, and baseline in {FILE} [tool.pan], got "
            f"{declared.baseline!r}: the setting is in two places; allowed: one of them"
        )
    given = config.getoption("pan_baseline")
    if given is not None:
        if not given.strip():
            raise pytest.UsageError(
                f"--pan-baseline: baselines, got {given!r}; allowed: a directory"
            )
        return given, "--pan-baseline"
    return (ini, where) if ini else (declared.baseline, f"{FILE} [tool.pan] baseline")


def require(limits: Iterable[Limit], baselines: Baselines | None) -> None:
    """Raise UsageError for a limit relative to a baseline in a run without baselines."""
    for limit in limits:
        if limit.relative and baselines is None:
            raise pytest.UsageError(
                str(
                    ConfigError(
                        f"bound of {limit.keyword}",
                        where=limit.origin,
                        got=repr(limit.relative),
                        allowed="a number, as this run has no baselines",
                        next="Set their directory: --pan-baseline=DIR, pan_baseline in the ini "
                        f"file, or baseline in {FILE} [tool.pan].",
                    )
                )
            )


def header(baselines: Baselines) -> str:
    """Return the header line, such as ``pan: 3 baselines in tests/baselines, to be updated``."""
    line = f"pan: {plural(len(baselines.bodies), 'baseline')} in {baselines.shown}"
    return line + (", to be updated" if baselines.update else "")
