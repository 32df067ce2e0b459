"""Declares the options, on the command line and in the ini file.

Every run of pytest where the plugin is installed declares them, so nothing of the audit is imported
here; what they mean is found out by those that read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_pan.config.options import LIMIT, SETTINGS, UPDATE

if TYPE_CHECKING:
    import pytest

_TABLE = re.compile(rb"(?<![-\w])pan(?![-\w])")
"""The key in whatever way it is written, but no mention of this package."""

MARKER = (
    "pan(max_<measure>=..., min_<measure>=...): audit the padding of the model in the fixture "
    "pan_model on the images in pan_images, and fail beyond a limit, e.g. max_pan_fraction=0.03"
)


USAGE = "pan_usage_error"
"""Where one of xdist's workers leaves the message of a wrong configuration."""

FIXTURES = frozenset({"pan", "pan_audit"})
"""Whose tests ask for an audit."""


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
        LIMIT,
        action="append",
        dest="pan_limit",
        metavar="LIMIT=NUMBER",
        default=[],
        help="hold every declared model and every test marked pan against a limit, e.g. "
        "max_pan_fraction=0.03, max_pan_fraction[features.1.*]=0.2; repeatable",
    )
    for option in SETTINGS:
        if option.cli:
            flag = "--pan-" + option.name.replace("_", "-")
            group.addoption(
                flag, dest=f"pan_{option.name}", metavar="VALUE", default=None, help=option.help
            )
        parser.addini(f"pan_{option.name}", option.help, type=option.type, default=None)
    _add_verdicts(parser, group)


def _add_verdicts(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--pan-no-cache",
        action="store_true",
        dest="pan_no_cache",
        default=False,
        help="make every audit anew, and keep none; else one of the same model, images and "
        "settings is taken from pytest's cache directory",
    )
    parser.addini("pan_cache", "keep audits in pytest's cache directory", type="bool", default=True)
    inconclusive = (
        "what a verdict does whose limit lies inside the figure's interval: fail, warn (default: "
        "the test counts as inconclusive in the last line) or pass"
    )
    group.addoption(
        "--pan-inconclusive",
        dest="pan_inconclusive",
        metavar="VALUE",
        default=None,
        help=inconclusive,
    )
    parser.addini("pan_inconclusive", inconclusive, default=None)
    group.addoption(
        "--pan-baseline",
        dest="pan_baseline",
        metavar="DIR",
        default=None,
        help="compare each audit with its baseline, a JSON file in DIR (from the rootdir), which "
        'limits such as max_pan_fraction="baseline+10%%" are relative to',
    )
    parser.addini("pan_baseline", "directory of baselines, from the rootdir", default=None)
    group.addoption(
        UPDATE,
        action="store_true",
        dest="pan_update_baseline",
        default=False,
        help="write the baseline of every audit that this run completes; no other is touched",
    )


def given(config: pytest.Config) -> bool:
    """Whether this run has to do with audits before any test is looked at: by an option of the
    command line, ``pan_audit`` in the ini file, the id of a declared model, or what may be a
    table ``[tool.pan]``.
    """
    chosen = vars(config.option).items()
    if any(value for name, value in chosen if name.startswith("pan_")):
        return True
    if any(str(argument).startswith("pan::") for argument in config.args):
        return True
    try:
        if config.getini("pan_audit"):
            return True
    except Exception:  # whoever reads it says what is wrong
        return True
    file = config.rootpath / "pyproject.toml"
    return file.is_file() and _TABLE.search(file.read_bytes()) is not None
