"""Padding bias in CNNs as a test: find the neurons that read the padding, and bound them.

Public names only, imported when asked for: importing the package must not import torch, since
pytest loads the plugin in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_pan.errors import AuditError, ConfigError, InputError, PanError, PanWarning
from pytest_pan.records import Audit, Neuron, Side, Site

if TYPE_CHECKING:
    from pytest_pan.pipeline import audit as audit

__all__ = [
    "Audit",
    "AuditError",
    "ConfigError",
    "InputError",
    "Neuron",
    "PanError",
    "PanWarning",
    "Side",
    "Site",
    "audit",
]


def __getattr__(name: str) -> Any:
    if name == "audit":
        from pytest_pan.pipeline import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
