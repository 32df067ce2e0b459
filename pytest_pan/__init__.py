"""Padding bias in CNNs as a test: find the neurons that read the padding, and bound them.

Public names only, imported when asked for: importing the package must not import torch, since
pytest loads the plugin in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_pan.records.errors import AuditError, ConfigError, InputError, PanError, PanWarning

if TYPE_CHECKING:
    from pytest_pan.engine.pipeline import audit as audit
    from pytest_pan.engine.repadded import applied as applied
    from pytest_pan.engine.repadded import plan_of as plan_of
    from pytest_pan.engine.repadded import repadded as repad
    from pytest_pan.inputs.models import untrained as untrained
    from pytest_pan.probes.influence.records import Influence as Influence
    from pytest_pan.records.audit import Audit as Audit
    from pytest_pan.records.neurons import Neuron as Neuron
    from pytest_pan.records.neurons import Side as Side
    from pytest_pan.records.plans import Plan as Plan
    from pytest_pan.records.sites import Site as Site

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
    "Audit": "pytest_pan.records.audit:Audit",
    "Influence": "pytest_pan.probes.influence.records:Influence",
    "Neuron": "pytest_pan.records.neurons:Neuron",
    "Plan": "pytest_pan.records.plans:Plan",
    "Side": "pytest_pan.records.neurons:Side",
    "Site": "pytest_pan.records.sites:Site",
    "applied": "pytest_pan.engine.repadded:applied",
    "audit": "pytest_pan.engine.pipeline:audit",
    "plan_of": "pytest_pan.engine.repadded:plan_of",
    "repad": "pytest_pan.engine.repadded:repadded",
    "untrained": "pytest_pan.inputs.models:untrained",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    return getattr(import_module(module), attribute)
