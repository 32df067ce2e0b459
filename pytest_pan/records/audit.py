"""Audit records: settings, skips, findings and the audit itself, with JSON conversion."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

from pytest_pan.records import summary
from pytest_pan.records.changes import BaselineComparison
from pytest_pan.records.limits import Outcome, Verdict
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import PAN_TYPES, Neuron
from pytest_pan.records.sites import Site

SCHEMA = "pytest-pan/2"
"""JSON schema version; incremented when a key changes its meaning or is removed."""

METHOD = 3
"""Method version; incremented when the same audit gives different values."""

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions the model can run in; the 16-bit ones use autocast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of an audit: those that determine its values, and how they are computed."""

    probes: tuple[str, ...] = ()
    """Requested probes besides the always-on ones; in a finished audit, all probes that ran."""
    theta: float = 0.5
    device: str = "auto"
    batch_size: int = 32
    seed: int = 0
    bad_images: Literal["fail", "skip"] = "fail"
    memory: int = 4 << 30
    mode: str = "reflect"
    """Padding mode that the influence probe swaps in."""
    draws: int = 3
    """Number of random control plans of the influence probe."""
    support: float = 1.0
    """Summed probability over all images from which on a class counts among the classes."""
    task: str = "auto"
    """Kind of model output; auto infers it from the output's shape."""
    precision: Precision = "float32"
    workers: int | None = None
    """Image loading processes; None chooses by source and device."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"probes": list(self.probes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "probes": tuple(data["probes"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A layer, image or class that was not examined, and the reason."""

    what: str
    why: str
    best_outcome: Outcome = "pass"
    """Best outcome of a limit on values that leave this out. A layer with non-finite values should
    have been included, so its limits cannot pass; a layer without padding should not."""
    probe: str = ""
    """The probe whose values leave it out; empty for all probes."""

    @property
    def at_best(self) -> Outcome:
        """Alias of ``best_outcome``, under its JSON key."""
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
    """A probe's results besides its measures, as a frozen record."""

    is_top_level: ClassVar[bool] = False
    """Whether the JSON has it at the audit's top level instead of under ``findings``."""

    def to_json(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class UnknownFindings:
    """Findings of a probe unknown to this version, kept as read."""

    is_top_level: ClassVar[bool] = False

    data: Any

    def to_json(self) -> Any:
        return self.data


Readers = Mapping[str, Callable[[Any], Findings]]
"""Functions that build findings from JSON, by probe name."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Audit:
    """The result of one audit; all reports are rendered from it."""

    model: Mapping[str, Any]
    """``name``, ``digest`` (of the weights), ``parameters`` (their number)."""
    images: Mapping[str, Any]
    """``count``, ``digest``, ``shape`` (of one image), ``source``, ``transform``."""
    environment: Mapping[str, Any]
    settings: Settings
    sites: tuple[Site, ...]
    neurons: tuple[Neuron, ...]
    measures: Mapping[str, Measured]
    skips: tuple[Skip, ...]
    findings: Mapping[str, Findings] = field(default_factory=dict)
    """By probe name; also available as attributes, such as ``audit.influence``."""
    classes: tuple[str, ...] = ()
    """Class names in output order; empty if unknown."""
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    """Caveats about the values: few images, small maps, ..."""
    partial: str = ""
    """Why the audit stopped early; empty for a complete audit."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage: ``load`` (waiting for images), ``forward`` (the first pass over the images,
    shared by all probes), and each probe's additional time. A cached audit keeps its original
    times."""
    cached: bool = False
    """Whether it was read from the cache."""
    baseline: BaselineComparison | None = None
    """Comparison with its baseline; None in a run without baselines."""

    def __getattr__(self, name: str) -> Any:
        """Return a probe's findings by the probe's name."""
        findings = object.__getattribute__(self, "findings")
        if name in findings:
            return findings[name]
        ran = ", ".join(findings) or "none"
        raise AttributeError(f"this audit has no {name!r}; probes that ran: {ran}")

    def __repr__(self) -> str:
        partial = ", partial" if self.partial else ""
        return f"<Audit {summary.name(self)}: {summary.extent(self)}{partial}>"

    def _repr_html_(self) -> str:
        """Return a small table of the measures, which notebooks show."""
        return summary.page(self)

    def summary(self) -> str:
        """Return what was examined and each measure with its interval, as lines of text.

        Values are as in ``measures``: a fraction of 0.02 is 2 %.
        """
        return "\n".join(summary.lines(self))

    @property
    def pan_fraction(self) -> float:
        """PANs as a fraction of the examined neurons."""
        return self.measures["pan_fraction"].value

    @property
    def pan_count(self) -> int:
        """Number of PANs."""
        return len(self.neurons)

    @property
    def neuron_count(self) -> int:
        """Number of examined neurons."""
        return sum(site.channels for site in self.sites)

    def pans(self, layer: str = "*") -> tuple[Neuron, ...]:
        """Return the PANs of the sites whose name matches the glob ``layer``, in network order."""
        return tuple(n for n in self.neurons if fnmatch.fnmatchcase(n.site, layer))

    @property
    def images_per_second(self) -> float:
        """Images per second over all stages."""
        total = sum(self.seconds.values())
        return self.images.get("count", 0) / total if total else 0.0

    @property
    def type_counts(self) -> dict[str, int]:
        """Number of PANs of each of the fifteen types, in the order of the paper's Table 2."""
        counts = dict.fromkeys(PAN_TYPES, 0)
        for neuron in self.neurons:
            counts[str(neuron.type)] += 1
        return counts

    def to_json(self) -> dict[str, Any]:
        """Return the audit's entry in the JSON report; docs/reference.md lists the keys."""
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
        """Build the record from the data of :meth:`to_json`; ``readers`` build the findings.

        Raises TypeError for a key that is neither a field nor a probe name: it would be lost.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known or key not in readers}
        values.pop("advice", None)  # follows from the rest
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
                "baseline": (
                    BaselineComparison.from_json(data["baseline"]) if data.get("baseline") else None
                ),
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
