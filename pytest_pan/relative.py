"""Bounds written relative to a baseline: ``baseline``, ``baseline+10%``, ``baseline-0.01``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

ALLOWED = "'baseline', 'baseline+10%', 'baseline-0.01'"

_FORM = re.compile(r"baseline(?: *([+-]) *(\d{1,12}(?:\.\d{1,12})?|\.\d{1,12}) *(%?))?")


@dataclass(frozen=True, slots=True)
class Relative:
    """So much more or less than the figure in the baseline."""

    amount: Decimal
    is_share: bool
    """Of that figure's size, in percent; else an amount in the measure's unit."""

    def __abs__(self) -> Decimal:
        return abs(self.amount)

    def of(self, figure: float) -> float:
        """The bound. In decimals, as people reckon: 0.7 + 0.1 is 0.8 and not one bit less."""
        base = Decimal(repr(figure))
        return float(base + (abs(base) * self.amount / 100 if self.is_share else self.amount))


def parse(text: str) -> Relative | None:
    """What the text says; None where it is no bound of that form."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    sign, amount, percent = found.groups()
    return Relative(Decimal(f"{sign or ''}{amount or 0}"), bool(percent))
