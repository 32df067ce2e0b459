"""The options as pytest lists them, on the command line and in the ini file.

Every run of pytest where the plugin is installed declares them, so nothing of the audit is imported
here; what they mean is found out by those that read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import pytest

_TABLE = re.compile(rb"(?<![-\w])pan(?![-\w])")
"""The key in whatever way it is written, but no mention of this package."""

LIMIT = "--pan-limit"
UPDATE = "--pan-update-baseline"
"""The option that writes baselines."""

MARKER = (
    "pan(max_<measure>=..., min_<measure>=...): audit the padding of the model in the fixture "
    "pan_model on the images in pan_images, and fail beyond a limit, e.g. max_pan_fraction=0.03"
)


USAGE = "pan_usage_error"
"""Where one of xdist's workers leaves the message of a wrong configuration."""

FIXTURES = frozenset({"pan", "pan_audit"})
"""Whose tests ask for an audit."""


class Switch(NamedTuple):
    """One setting, on the command line as ``--pan-NAME`` and in the ini file as ``pan_NAME``."""

    name: str
    help: str
    cli: bool = True
    type: Literal["string", "int", "float"] = "string"
    """In the ini file: pytest's native TOML section gives numbers as numbers."""


SETTINGS = (
    Switch(
        name="probes",
        help="what to look for: pans (always), influence, intrusion; comma-separated. A limit on "
        "a measure of another probe asks for it by itself",
    ),
    Switch(
        name="mode",
        help="padding that the influence probe swaps in; reflect by default",
    ),
    Switch(
        name="draws",
        help="random neurons' draws that the influence probe compares with; 3 by default",
        type="int",
    ),
    Switch(
        name="task",
        help="what the outputs are, where their shape does not tell (multilabel, embedding)",
        cli=False,
    ),
    Switch(
        name="device",
        help="where the model runs: auto (the first GPU, else the CPU), cpu, cuda, cuda:N",
    ),
    Switch(
        name="precision",
        help="what the model computes in: float32 (default, TF32 off), tf32 (a GPU that has it), "
        "bfloat16 or float16 (autocast)",
    ),
    Switch(
        name="batch_size",
        help="images per forward pass (a DataLoader keeps its own); 32 by default",
        type="int",
    ),
    Switch(
        name="workers",
        help="processes that load a folder's or a Dataset's images (a DataLoader has its own); "
        "auto: up to 8 for files on their way to a GPU by the default transform, else none",
    ),
    Switch(
        name="theta",
        help="threshold of the Kolmogorov-Smirnov statistics; 0.5 by default, as published",
        type="float",
    ),
    Switch(
        name="seed",
        help="seed of everything random, such as a data set's random crops; 0 by default",
        type="int",
    ),
    Switch(
        name="bad_images",
        help="what a broken image file does: fail (default), or skip it and list it",
        cli=False,
    ),
    Switch(
        name="memory",
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
        LIMIT,
        action="append",
        dest="pan_limit",
        metavar="LIMIT=NUMBER",
        default=[],
        help="hold every declared model and every test marked pan against a limit, e.g. "
        "max_pan_fraction=0.03, max_pan_fraction[features.1.*]=0.2; repeatable",
    )
    for switch in SETTINGS:
        if switch.cli:
            flag = "--pan-" + switch.name.replace("_", "-")
            group.addoption(
                flag, dest=f"pan_{switch.name}", metavar="VALUE", default=None, help=switch.help
            )
        parser.addini(f"pan_{switch.name}", switch.help, type=switch.type, default=None)
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
