"""Whether class scores are logits or probabilities already."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_pan.probes.outputs import Form, Reading, Task, finite

_SUM_ERROR = 1e-2
"""How far from 1 the sum of a distribution over classes may be, by rounding: bfloat16 keeps eight
bits of each probability."""


@dataclass
class FormCheck:
    """Tells probabilities from logits by all outputs of the original pass.

    Values that all lie in [0, 1] are probabilities: a distribution where those of each sample (or
    pixel) sum to 1, else one for each class. Outputs that are all equal tell nothing, and where the
    user names the task classification, scores that do not sum to 1 stay logits.
    """

    task: str = "auto"
    is_unit: bool = True
    sums_to_one: bool = True
    varies: bool = False

    def add(self, reading: Reading) -> None:
        """Look at a batch; samples that are not finite do not count."""
        if reading.logits is None or reading.classes is None:
            self.is_unit = False
            return
        values = reading.logits[finite(reading).to(reading.logits.device)]
        if not len(values):
            return
        self.is_unit &= bool(((values >= 0) & (values <= 1)).all())
        self.sums_to_one &= bool(((values.double().sum(1) - 1).abs() <= _SUM_ERROR).all())
        self.varies |= bool((values != values.flatten()[0]).any())

    def merge(self, other: FormCheck) -> None:
        """Add what another process has seen."""
        self.is_unit &= other.is_unit
        self.sums_to_one &= other.sums_to_one
        self.varies |= other.varies

    @property
    def form(self) -> Form:
        if not (self.is_unit and self.varies):
            return "logits"
        if self.sums_to_one:
            return "probabilities"
        return "logits" if self.task == "classification" else "independent probabilities"


def in_form(reading: Reading, form: Form) -> Reading:
    """Return the reading with its class scores taken as that."""
    if reading.classes is None or form == "logits":
        return reading
    each = reading.each or form == "independent probabilities"
    task: Task = "multilabel" if each and reading.task == "classification" else reading.task
    return replace(reading, form=form, each=each, task=task)
