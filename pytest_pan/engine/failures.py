"""Errors of audits that stop early."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

import torch

from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.errors import AuditError, InputError, PanError
from pytest_pan.records.text import plural


def stopped(error: Exception, partial: Audit) -> AuditError:
    """Return the error to raise instead of ``error``, with the finished part of the audit."""
    if isinstance(error, PanError):
        what, hint = str(error), ""
    else:
        what = f"the model raised {type(error).__name__}{_place(error)}: {_text(error)}"
        hint = "Check that the model runs on one batch of these images."
    done = partial.images["count"]
    stopped = AuditError(
        what,
        where=str(partial.model["name"]),
        got=f"images of shape {tuple(partial.images['shape'])}, {done} read" if done else "",
        next=hint,
    )
    stopped.audit = replace(partial, partial=what)
    return stopped


def not_prepared(error: Exception) -> InputError:
    """Return the error for a model or images that raise before the first forward pass."""
    what = f"preparing the model and the images raised {type(error).__name__}{_place(error)}"
    return InputError(
        f"{what}: {_text(error)}", next="Check that the model runs without pytest-pan."
    )


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # of the user's exception class
        return "its message cannot be printed"


def _place(error: Exception) -> str:
    """Return where the user's code raised it: the innermost frame that is neither in torch nor in
    this package.
    """
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[0] != "<"]
    theirs = [frame for frame in frames if not frame.filename.startswith(ours)]
    if not theirs:
        return ""
    return f" at {theirs[-1].filename}:{theirs[-1].lineno}"


def nothing_examined(skips: tuple[Skip, ...]) -> InputError:
    """Return the error for a model without a layer to examine, with the reasons."""
    reasons: dict[str, int] = {}
    for skip in skips:
        reasons[skip.why] = reasons.get(skip.why, 0) + 1
    listed = ", ".join(f"{why} ({count})" for why, count in reasons.items())
    return InputError(
        "no padded convolution to examine",
        got=f"{plural(sum(reasons.values()), 'convolution')}: {listed}"
        if reasons
        else "no convolution",
        allowed="at least one Conv2d with padding and a kernel larger than 1x1",
    )
