"""Report options: the types and destinations of reports."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_pan.config.files import why_not_writable
from pytest_pan.plugin.settings import in_ini_file
from pytest_pan.records.errors import ConfigError

DEFAULTS = {
    "html": "pan-report.html",
    "json": "pan-report.json",
    "markdown": "pan-report.md",
    "markdown-append": "",
}
"""Default destination of each report type; empty if it must be given."""


def reports(config: pytest.Config) -> tuple[tuple[str, Path], ...]:
    """Return all reports of the ini file and the command line as (type, absolute path)."""
    wanted: dict[tuple[str, Path], None] = {}
    in_ini = in_ini_file(config, "pan_report")
    try:
        given = [(text, f"{in_ini}: {text}") for text in config.getini("pan_report")]
    except TypeError as error:
        raise _refused(in_ini, "reports", str(error), "a list of TYPE[:DEST]") from None
    given += [(text, f"--pan-report={text}") for text in config.getoption("pan_report")]
    for text, where in given:
        kind, _, dest = text.partition(":")
        if kind not in DEFAULTS:
            raise _refused(where, "report type", repr(kind), ", ".join(DEFAULTS))
        dest = _expand_variables(where, dest) if kind == "markdown-append" else dest
        path = config.invocation_params.dir / (dest or DEFAULTS[kind])
        if why := why_not_writable(path):
            raise _refused(where, why, "", "a writable file")
        if any(path == other and kind != others for others, other in wanted):
            allowed = "one file per report"
            raise _refused(where, "another report has the same destination", "", allowed)
        wanted[kind, path] = None
    return tuple(wanted)


def _refused(where: str, what: str, got: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(str(ConfigError(what, where=where, got=got, allowed=allowed)))


def _expand_variables(where: str, dest: str) -> str:
    """Replace environment variables in the name of the file to append to, for ini files."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not os.environ.get(name):
            what = f"the environment variable {name} is not set"
            raise _refused(where, what, "", "a variable that is set")
        return os.environ[name]

    if not dest:
        allowed = (
            "markdown-append:FILE. If FILE is a shell variable, such as GITHUB_STEP_SUMMARY, it is "
            "empty or not set"
        )
        raise _refused(where, "no file to append to", "", allowed)
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, dest)
