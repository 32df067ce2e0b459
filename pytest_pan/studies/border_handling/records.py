"""What the border-handling study trains, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A padding scheme, and its published accuracies in percent (Kayhan & van Gemert)."""

    name: str
    padding: int
    """Rows and columns on each side, of a 3x3 kernel."""
    mode: Literal["zeros", "circular"]
    """PyTorch's ``padding_mode``."""
    similar: float
    dissimilar: float


SCHEMES = (
    Scheme(name="valid", padding=0, mode="zeros", similar=100.0, dissimilar=0.2),
    Scheme(name="zero", padding=1, mode="zeros", similar=99.8, dissimilar=8.4),
    Scheme(name="circular", padding=1, mode="circular", similar=73.7, dissimilar=73.7),
    Scheme(name="full zero", padding=2, mode="zeros", similar=89.7, dissimilar=89.7),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The sizes of a training run: this project's, not the source's."""

    images: int = 2_000
    """Training images, half of each class."""
    epochs: int = 14
    batch: int = 32
    tests: int = 1_000
    """Images of each of the two tests, half of each class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One trained network: accuracies from 0 to 1, and the mean loss of each epoch."""

    scheme: str
    seed: int
    training: float
    similar: float
    dissimilar: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Mean of an accuracy over seeds, in percent, and its standard deviation (None of one seed)."""

    mean: float
    deviation: float | None


def summary(shares: Sequence[float]) -> Summary:
    """Summarise one accuracy of each seed; the deviation has n - 1 in its denominator."""
    percent = [100 * share for share in shares]
    deviation = statistics.stdev(percent) if len(percent) > 1 else None
    return Summary(mean=statistics.fmean(percent), deviation=deviation)


ACCURACIES = ("training", "similar", "dissimilar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All runs, by scheme and then by seed."""

    protocol: Protocol
    seeds: tuple[int, ...]
    device: str
    torch: str
    runs: tuple[Run, ...]

    def summary(self, scheme: str, accuracy: str) -> Summary:
        """Summarise ``training``, ``similar`` or ``dissimilar`` accuracy of a scheme over seeds."""
        return summary([getattr(run, accuracy) for run in self.runs if run.scheme == scheme])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON root; accuracies of runs are shares, those of summaries percent."""
        return {
            "study": "border-handling",
            "schema": SCHEMA,
            "protocol": asdict(self.protocol),
            "seeds": list(self.seeds),
            "device": self.device,
            "torch": self.torch,
            "note": CONFOUNDERS,
            "schemes": {
                scheme.name: {
                    "padding": scheme.padding,
                    "mode": scheme.mode,
                    "published": {"similar": scheme.similar, "dissimilar": scheme.dissimilar},
                    **{a: asdict(self.summary(scheme.name, a)) for a in ACCURACIES},
                }
                for scheme in SCHEMES
            },
            "runs": [asdict(run) for run in self.runs],
        }


CONFOUNDERS = (
    "Lin et al. (PPP) show that this test has confounders. It compares padding schemes under one "
    "training protocol; it says nothing about a given model."
)
