"""The errors a user can meet; each says what, where, got, allowed, next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_pan.records.audit import Audit


class PanError(Exception):
    """Base of every error this package raises on purpose."""

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
        super().__init__(f"{head}. {next}" if next else head)


class ConfigError(PanError):
    """A setting, a limit or an option is wrong; found before any forward pass."""


class InputError(PanError):
    """The model or the images cannot be used as given."""


class AuditError(PanError):
    """The audit stopped half-way; ``audit`` holds what had finished, marked partial."""

    audit: Audit | None = None


class PanWarning(UserWarning):
    """The audit ran, but a figure deserves less trust than it seems to."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest of the known words; empty if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


_SHOWN = 80
"""Characters of a rejected value that a message repeats."""


def shortened(value: object) -> str:
    """Return the value's ``repr``, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python converts to text
        return f"a {type(value).__name__} with too many digits to print"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
