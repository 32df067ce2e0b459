"""Something to do about what an audit found."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to do, with its reason."""

    what: str
    """What to do: ``Train and test on 225x225 images instead of 224x224.``"""
    evidence: str
    """Figures of the audit that speak for it."""
    effect: str = ""
    """What trying it on this model without training changed; empty if it was not tried."""
    weight: float
    """Importance from 0 to 1; the largest comes first."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}
