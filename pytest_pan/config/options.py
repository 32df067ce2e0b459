"""Table of settings for pytest's options, and names of options that messages refer to.

Every pytest run imports this module if the plugin is installed, so it imports almost nothing.
"""

from __future__ import annotations

import shlex
from typing import Literal, NamedTuple

LIMIT = "--pan-limit"
UPDATE = "--pan-update-baseline"
SUGGEST = "--pan-suggest"


def update_command(folder: str) -> str:
    """Return the command that writes the baselines of a folder."""
    return f"pytest --pan-audit {shlex.quote(f'--pan-baseline={folder}')} {UPDATE}"


class Option(NamedTuple):
    """A setting: ``--pan-NAME`` on the command line, ``pan_NAME`` in the ini file."""

    name: str
    help: str
    cli: bool = True
    """Whether it is a command line option."""
    type: Literal["string", "int", "float"] = "string"
    """Type in the ini file; pytest's native TOML table has typed numbers."""


SETTINGS = (
    Option(
        name="probes",
        help="additional probes to run, comma-separated (pytest-pan probes lists them); limits "
        "add the probes they need",
    ),
    Option(
        name="mode",
        help="padding mode that the influence probe swaps in; reflect by default",
    ),
    Option(
        name="draws",
        help="number of random neuron sets that the influence probe compares with; 3 by default",
        type="int",
    ),
    Option(
        name="support",
        help="summed probability over all images from which on a class counts for figures over "
        "classes; 1 by default",
        cli=False,
    ),
    Option(
        name="task",
        help="kind of model output, if its shape does not show it (multilabel, embedding)",
        cli=False,
    ),
    Option(
        name="device",
        help="device to run the model on: auto (the first GPU, else the CPU), cpu, cuda, cuda:N",
    ),
    Option(
        name="precision",
        help="precision of the model: float32 (default, TF32 off), tf32 (if the GPU supports it), "
        "bfloat16 or float16 (autocast)",
    ),
    Option(
        name="batch_size",
        help="images per forward pass (not for a DataLoader, which has its own); 32 by default",
        type="int",
    ),
    Option(
        name="workers",
        help="processes that load the images of a folder or Dataset (a DataLoader has its own); "
        "auto: up to 8 if a GPU audits a folder without a transform of yours, else none",
    ),
    Option(
        name="theta",
        help="threshold of the Kolmogorov-Smirnov statistics; 0.5 by default, as in the paper",
        type="float",
    ),
    Option(
        name="seed",
        help="random seed, also for random transforms of a data set; 0 by default",
        type="int",
    ),
    Option(
        name="bad_images",
        help="handling of broken image files: fail (default), or skip (they are listed)",
        cli=False,
    ),
    Option(
        name="memory",
        help="maximum bytes of activations kept in memory; 4 GiB by default",
        cli=False,
        type="int",
    ),
)
