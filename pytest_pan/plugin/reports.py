"""Which reports to write, and where they go."""

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
"""Where each type of report goes unless told; empty where it must be told."""


def reports(config: pytest.Config) -> tuple[tuple[str, Path], ...]:
    """Reports to write, as (type, absolute path); the command line adds to the ini file."""
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
        dest = _filled(where, dest) if kind == "markdown-append" else dest
        path = config.invocation_params.dir / (dest or DEFAULTS[kind])
        if why := why_not_writable(path):
            raise _refused(where, why, "", "a file that can be written")
        if any(path == other and kind != others for others, other in wanted):
            raise _refused(where, "another report goes there too", "", "a file for each")
        wanted[kind, path] = None
    return tuple(wanted)


def _refused(where: str, what: str, got: str, allowed: str) -> pytest.UsageError:
    return pytest.UsageError(str(ConfigError(what, where=where, got=got, allowed=allowed)))


def _filled(where: str, dest: str) -> str:
    """The file to append to, variables in its name filled in: an ini file has no shell for that."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not os.environ.get(name):
            what = f"the variable {name} is not set"
            raise _refused(where, what, "", "a variable that is")
        return os.environ[name]

    if not dest:
        allowed = (
            "markdown-append:FILE. If FILE came from a variable, such as GITHUB_STEP_SUMMARY, that "
            "variable is empty or not set"
        )
        raise _refused(where, "no file to append to", "", allowed)
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, dest)
