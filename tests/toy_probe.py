"""A whole probe in sixty lines: the mean activation along each border, beside the map's mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Pass
from pytest_pan.probes.probe import Probe
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measure, Measured


@dataclass(frozen=True, slots=True)
class ToyFindings:
    is_top_level: ClassVar[bool] = False

    means: Mapping[str, float]

    def to_json(self) -> dict[str, float]:
        return dict(self.means)


class ToyObserver(Observer):
    def __init__(self, context: Context) -> None:
        self._maps: list[Tensor] = []

    def passes(self, known: Audit) -> Sequence[Pass]:
        return () if self._maps else (ORIGINAL,)

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        self._maps.append(call.output.double().mean((0, 1)))

    def findings(self, known: Audit) -> Found:
        lines = {"T": self._maps[0][0], "B": self._maps[0][-1]}
        means = {side: float(line.mean()) for side, line in lines.items()}
        gap = abs(means["T"] - means["B"])
        return Found(
            findings=ToyFindings(means),
            measures={"border_mean_gap": Measured(measure="border_mean_gap", value=gap)},
            notes=("the toy probe ran",),
        )


def lines(audit: Audit) -> Iterator[str]:
    if "toy" in audit.findings:
        yield f"mean of the first row {audit.findings['toy'].to_json()['T']:.2f}"


def read(data: Any) -> ToyFindings:
    return ToyFindings(data)


MEASURE = Measure(
    name="border_mean_gap",
    unit="number",
    better="lower",
    source="this test",
    meaning="How far the means of the first and the last row lie apart.",
)
PROBE = Probe(
    name="toy",
    question="Do the first and the last row have the same mean?",
    measures=(MEASURE,),
    cost="nothing beside the shared pass",
    observer="toy_probe:ToyObserver",
    read=read,
    lines=lines,
)
