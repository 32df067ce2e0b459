"""Exceptions of the package; each message says where, what, got, allowed and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_pan.records.text import escaped

if TYPE_CHECKING:
    from pytest_pan.records.audit import Audit


class PanError(Exception):
    """Base class of all errors this package raises on purpose."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        got: str = "",
        allowed: str = "",
        next: str = "",
    ) -> None:
        self.what, self.where, self.got, self.allowed, self.next = what, where, got, allowed, next
        head = f"{where}: {what}" if where else what
        if got:
            head += f", got {got}"
        if allowed:
            head += f"; allowed: {allowed}"
        super().__init__(escaped(f"{head}. {next}" if next else head, keep="\n"))


class ConfigError(PanError):
    """A setting, limit or option is wrong; raised before any forward pass."""


class InputError(PanError):
    """The model or the images cannot be used as given."""


class AuditError(PanError):
    """The audit stopped early; ``audit`` has the finished part, marked partial."""

    audit: Audit | None = None


class PanWarning(UserWarning):
    """The audit ran, but a value is less reliable than it looks."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion with the most similar known word; empty if none is similar."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


_MAX_SHOWN = 80
"""Characters of a rejected value that a message quotes."""


def shortened(value: object) -> str:
    """Return the value's ``repr``, truncated if long."""
    try:
        text = repr(value)
    except Exception:  # such as an integer with more digits than Python converts to text
        return f"a {type(value).__name__} that cannot be printed"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text):,} characters)"
