"""Padding bias in CNNs as a test: find the neurons that read the padding, and bound them.

Public names only, imported when asked for: importing the package must not import torch, since
pytest loads the plugin in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_pan.errors import AuditError, ConfigError, InputError, PanError, PanWarning

if TYPE_CHECKING:
    from pytest_pan.models import untrained as untrained
    from pytest_pan.neurons import Neuron as Neuron
    from pytest_pan.neurons import Side as Side
    from pytest_pan.pipeline import audit as audit
    from pytest_pan.plans import Influence as Influence
    from pytest_pan.plans import Plan as Plan
    from pytest_pan.records import Audit as Audit
    from pytest_pan.records import Site as Site
    from pytest_pan.repadded import applied as applied
    from pytest_pan.repadded import plan_of as plan_of
    from pytest_pan.repadded import repadded as repad

__all__ = [
    "Audit",
    "AuditError",
    "ConfigError",
    "Influence",
    "InputError",
    "Neuron",
    "PanError",
    "PanWarning",
    "Plan",
    "Side",
    "Site",
    "applied",
    "audit",
    "plan_of",
    "repad",
    "untrained",
]

_LAZY = {
    "Audit": "pytest_pan.records:Audit",
    "Influence": "pytest_pan.plans:Influence",
    "Neuron": "pytest_pan.neurons:Neuron",
    "Plan": "pytest_pan.plans:Plan",
    "Side": "pytest_pan.neurons:Side",
    "Site": "pytest_pan.records:Site",
    "applied": "pytest_pan.repadded:applied",
    "audit": "pytest_pan.pipeline:audit",
    "plan_of": "pytest_pan.repadded:plan_of",
    "repad": "pytest_pan.repadded:repadded",
    "untrained": "pytest_pan.models:untrained",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    return getattr(import_module(module), attribute)
