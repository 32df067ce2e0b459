"""The table of settings as pytest lists them, and the names of options that messages refer to.

Every run of pytest where the plugin is installed imports this module, so it imports next to
nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

LIMIT = "--pan-limit"
UPDATE = "--pan-update-baseline"
"""The option that writes baselines."""


class Option(NamedTuple):
    """One setting, on the command line as ``--pan-NAME`` and in the ini file as ``pan_NAME``."""

    name: str
    help: str
    cli: bool = True
    type: Literal["string", "int", "float"] = "string"
    """In the ini file: pytest's native TOML section gives numbers as numbers."""


SETTINGS = (
    Option(
        name="probes",
        help="further questions to answer, comma-separated (pytest-pan probes lists them); a limit "
        "on a measure of another probe asks for it by itself",
    ),
    Option(
        name="mode",
        help="padding that the influence probe swaps in; reflect by default",
    ),
    Option(
        name="draws",
        help="random neurons' draws that the influence probe compares with; 3 by default",
        type="int",
    ),
    Option(
        name="task",
        help="what the outputs are, where their shape does not tell (multilabel, embedding)",
        cli=False,
    ),
    Option(
        name="device",
        help="where the model runs: auto (the first GPU, else the CPU), cpu, cuda, cuda:N",
    ),
    Option(
        name="precision",
        help="what the model computes in: float32 (default, TF32 off), tf32 (a GPU that has it), "
        "bfloat16 or float16 (autocast)",
    ),
    Option(
        name="batch_size",
        help="images per forward pass (a DataLoader keeps its own); 32 by default",
        type="int",
    ),
    Option(
        name="workers",
        help="processes that load a folder's or a Dataset's images (a DataLoader has its own); "
        "auto: up to 8 for files on their way to a GPU by the default transform, else none",
    ),
    Option(
        name="theta",
        help="threshold of the Kolmogorov-Smirnov statistics; 0.5 by default, as published",
        type="float",
    ),
    Option(
        name="seed",
        help="seed of everything random, such as a data set's random crops; 0 by default",
        type="int",
    ),
    Option(
        name="bad_images",
        help="what a broken image file does: fail (default), or skip it and list it",
        cli=False,
    ),
    Option(
        name="memory",
        help="bytes that activation samples may take; 4 GiB by default",
        cli=False,
        type="int",
    ),
)
