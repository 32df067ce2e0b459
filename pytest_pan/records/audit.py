"""The records that pass between the stages: frozen, plain, and JSON both ways."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

from pytest_pan.records.changes import Compared
from pytest_pan.records.limits import Outcome, Verdict
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import PAN_TYPES, Neuron
from pytest_pan.records.sites import Site

SCHEMA = "pytest-pan/2"
"""Version of the JSON; the number rises when a key changes its meaning or goes."""

METHOD = 2
"""Version of the method; the number rises when the same audit gives other figures."""

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What the model computes in; the halves by autocast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the audit's numbers, and how they were computed."""

    probes: tuple[str, ...] = ()
    """Besides those that are always on; in an audit, all that ran."""
    theta: float = 0.5
    device: str = "auto"
    batch_size: int = 32
    seed: int = 0
    bad_images: Literal["fail", "skip"] = "fail"
    memory: int = 4 << 30
    mode: str = "reflect"
    """Padding that the influence probe puts in the place of the network's own."""
    draws: int = 3
    """Random plans beside the PANs' own."""
    task: str = "auto"
    """What the outputs are; auto tells by their shape."""
    precision: Precision = "float32"
    workers: int | None = None
    """Processes that load images; None lets the source and the device decide."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"probes": list(self.probes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "probes": tuple(data["probes"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Something that was not examined, and the reason."""

    what: str
    why: str
    best_outcome: Outcome = "pass"
    """The best that a limit on figures without it can come to. A layer whose values are not finite
    belongs to the figures and is missing from them; a layer without padding does not."""
    probe: str = ""
    """The probe whose figures lack it; empty where all do."""

    @property
    def at_best(self) -> Outcome:
        """Name of ``best_outcome`` in the JSON."""
        return self.best_outcome

    def to_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "why": self.why,
            "at_best": self.best_outcome,
            "probe": self.probe,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            what=data["what"],
            why=data["why"],
            best_outcome=data.get("at_best", "pass"),
            probe=data.get("probe", ""),
        )


class Findings(Protocol):
    """What a probe found beside its measures; a frozen record of the probe's own."""

    is_top_level: ClassVar[bool] = False
    """Whether its JSON stands in the audit under the probe's name, and not in ``findings``."""

    def to_json(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class UnknownFindings:
    """Findings of a probe that this version does not have, kept as they were read."""

    is_top_level: ClassVar[bool] = False

    data: Any

    def to_json(self) -> Any:
        return self.data


Readers = Mapping[str, Callable[[Any], Findings]]
"""By probe, what makes its findings from JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All that one audit found; the reports are functions of it."""

    model: Mapping[str, Any]
    """``name``, ``digest`` of the weights, ``parameters``."""
    images: Mapping[str, Any]
    """``count``, ``digest``, ``shape`` of one image, ``source``, ``transform``."""
    environment: Mapping[str, Any]
    settings: Settings
    sites: tuple[Site, ...]
    neurons: tuple[Neuron, ...]
    measures: Mapping[str, Measured]
    skips: tuple[Skip, ...]
    findings: Mapping[str, Findings] = field(default_factory=dict)
    """By probe. Those of one probe are also an attribute of its name: ``audit.influence``."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the outputs; empty where they are not known."""
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    """What weakens the figures: few images, small maps, ..."""
    partial: str = ""
    """Why the audit stopped early; empty when it ran to its end."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: ``load`` (waiting for images), ``forward`` (the first pass over the images, which
    all probes share), and by probe what it took beyond that. Of a cached audit, as it was made."""
    cached: bool = False
    """Whether an earlier run made it."""
    baseline: Compared | None = None
    """How it compares with its baseline, in a run that has baselines."""

    def __getattr__(self, name: str) -> Any:
        """Return the findings of the probe of that name."""
        findings = object.__getattribute__(self, "findings")
        if name in findings:
            return findings[name]
        ran = ", ".join(findings) or "none"
        raise AttributeError(f"this audit has no {name!r}; probes that ran: {ran}")

    @property
    def pan_fraction(self) -> float:
        """PANs as a share of the neurons examined."""
        return self.measures["pan_fraction"].value

    @property
    def pan_count(self) -> int:
        """Number of PANs."""
        return len(self.neurons)

    @property
    def neuron_count(self) -> int:
        """Number of neurons examined."""
        return sum(site.channels for site in self.sites)

    def pans(self, layer: str = "*") -> tuple[Neuron, ...]:
        """The PANs of the sites whose name matches the glob ``layer``, in the order of the net."""
        return tuple(n for n in self.neurons if fnmatch.fnmatchcase(n.site, layer))

    @property
    def images_per_second(self) -> float:
        """Images over the time of all stages."""
        taken = sum(self.seconds.values())
        return self.images.get("count", 0) / taken if taken else 0.0

    @property
    def type_counts(self) -> dict[str, int]:
        """Number of PANs of each of the fifteen types, in the order of the paper's Table 2."""
        counts = dict.fromkeys(PAN_TYPES, 0)
        for neuron in self.neurons:
            counts[str(neuron.type)] += 1
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the JSON report's ``audits``; docs/reference.md lists the keys."""
        top = {n: f.to_json() for n, f in self.findings.items() if f.is_top_level}
        return {
            "model": dict(self.model),
            "images": dict(self.images),
            "environment": dict(self.environment),
            "settings": self.settings.to_json(),
            "sites": [site.to_json() for site in self.sites],
            "neurons": [neuron.to_json() for neuron in self.neurons],
            "measures": {name: m.to_json() for name, m in self.measures.items()},
            "skips": [skip.to_json() for skip in self.skips],
            "findings": {n: f.to_json() for n, f in self.findings.items() if n not in top},
            **top,
            "classes": list(self.classes),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "notes": list(self.notes),
            "partial": self.partial,
            "seconds": dict(self.seconds),
            "cached": self.cached,
            "baseline": self.baseline.to_json() if self.baseline else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], readers: Readers) -> Self:
        """Make the record from :meth:`to_json`'s data; ``readers`` make the findings.

        Raises TypeError for a key that is neither a field nor a probe's: it would be lost.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known or key not in readers}
        return cls(
            **{
                **values,
                "settings": Settings.from_json(data["settings"]),
                "sites": tuple(Site.from_json(s) for s in data["sites"]),
                "neurons": tuple(Neuron.from_json(n) for n in data["neurons"]),
                "measures": {k: Measured.from_json(k, m) for k, m in data["measures"].items()},
                "skips": tuple(Skip.from_json(s) for s in data["skips"]),
                "findings": _read_findings(data, readers),
                "classes": tuple(data["classes"]),
                "verdicts": tuple(Verdict.from_json(v) for v in data["verdicts"]),
                "notes": tuple(data["notes"]),
                "baseline": Compared.from_json(data["baseline"]) if data.get("baseline") else None,
            }
        )


def _read_findings(data: Mapping[str, Any], readers: Readers) -> dict[str, Findings]:
    top = {name: data[name] for name in readers if name in data}
    bodies = {**data.get("findings", {}), **top}
    order = [
        *(name for name in readers if name in bodies),
        *(n for n in bodies if n not in readers),
    ]
    return {name: readers.get(name, UnknownFindings)(bodies[name]) for name in order}
