"""Options of the command line and the ini file.

Every pytest run with the plugin installed declares them, so this module imports almost nothing.
Other modules read and check the values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pan.config.options import LIMIT, SETTINGS, SUGGEST, UPDATE

if TYPE_CHECKING:
    import pytest

_TABLE = re.compile(rb"(?<![-\w])pan(?![-\w])")
"""The TOML key ``pan`` in any notation, but not the name pytest-pan."""

MARKER = (
    "pan(max_<measure>=..., min_<measure>=...): audit the padding of the model in the fixture "
    "pan_model on the images in pan_images, and fail beyond a limit, e.g. max_pan_fraction=0.03"
)

USAGE_ERROR = "pan_usage_error"
"""Key of an xdist worker's output that has the message of a usage error."""

FIXTURES = frozenset({"pan", "pan_audit"})
"""Fixtures that make a test an audit test."""


def add(parser: pytest.Parser) -> None:
    """Declare all options of the command line and the ini file."""
    group = parser.getgroup("pan", "padding audit of CNNs (pytest-pan)")
    group.addoption(
        "--pan-audit",
        action="store_true",
        dest="pan_audit",
        default=None,
        help="run padding audits; without it, tests that need one are skipped",
    )
    parser.addini("pan_audit", "run padding audits in every run", type="bool", default=False)
    group.addoption(
        "--pan-report",
        action="append",
        dest="pan_report",
        metavar="TYPE[:DEST]",
        default=[],
        help="write a report of type html, json or markdown to DEST (by default "
        "pan-report.html, .json or .md); markdown-append:FILE appends to a file, such as a CI "
        "job's summary; repeatable",
    )
    parser.addini("pan_report", "reports to write, as TYPE[:DEST]", type="args", default=[])
    group.addoption(
        LIMIT,
        action="append",
        dest="pan_limit",
        metavar="LIMIT=NUMBER",
        default=[],
        help="limit for all declared models and all tests marked pan, e.g. "
        "max_pan_fraction=0.03, max_pan_fraction[features.1.*]=0.2; repeatable",
    )
    group.addoption(
        SUGGEST,
        action="store_true",
        dest="pan_suggest",
        default=False,
        help="after the audits, print limits just above what was measured, to start from; runs "
        "audits like --pan-audit, also of tests marked pan without a limit",
    )
    for option in SETTINGS:
        if option.cli:
            flag = "--pan-" + option.name.replace("_", "-")
            group.addoption(
                flag, dest=f"pan_{option.name}", metavar="VALUE", default=None, help=option.help
            )
        parser.addini(f"pan_{option.name}", option.help, type=option.type, default=None)
    _add_cache(parser, group)
    _add_inconclusive(parser, group)
    _add_baseline(parser, group)


def _add_cache(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--pan-no-cache",
        action="store_true",
        dest="pan_no_cache",
        default=False,
        help="do not read or write cached audits; by default, an audit of the same model, images "
        "and settings is read from pytest's cache directory",
    )
    parser.addini(
        "pan_cache", "cache audits in pytest's cache directory", type="bool", default=True
    )


def _add_inconclusive(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    text = (
        "outcome of a test whose limit lies inside the value's confidence interval: fail, warn "
        "(default: counted as inconclusive in the last line) or pass"
    )
    group.addoption(
        "--pan-inconclusive",
        dest="pan_inconclusive",
        metavar="VALUE",
        default=None,
        help=text,
    )
    parser.addini("pan_inconclusive", text, default=None)


def _add_baseline(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--pan-baseline",
        dest="pan_baseline",
        metavar="DIR",
        default=None,
        help="compare each audit with its baseline, a JSON file in DIR (relative to the rootdir); "
        'limits such as max_pan_fraction="baseline+10%%" refer to it',
    )
    parser.addini("pan_baseline", "baseline directory, relative to the rootdir", default=None)
    group.addoption(
        UPDATE,
        action="store_true",
        dest="pan_update_baseline",
        default=False,
        help="write the baseline of every audit that this run completes; keep other files as is",
    )


def concerns_audits(config: pytest.Config) -> bool:
    """Return whether options, arguments or files refer to audits, before tests are collected.

    True for an option of the command line, ``pan_audit`` in the ini file, the id of a declared
    model, and a file that may have the table ``[tool.pan]``.
    """
    values = vars(config.option).items()
    if any(value for name, value in values if name.startswith("pan_")):
        return True
    if any(str(argument).startswith("pan::") for argument in config.args):
        return True
    try:
        if config.getini("pan_audit"):
            return True
    except Exception:  # reported later, where the value is read
        return True
    file = config.rootpath / "pyproject.toml"
    return file.is_file() and _TABLE.search(file.read_bytes()) is not None
