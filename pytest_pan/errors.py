"""The errors a user can meet; each says what, where, got, allowed, next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_pan.records import Audit


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
