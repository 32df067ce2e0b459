"""The records that pass between the stages: frozen, plain, and JSON both ways."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from pytest_pan.changes import Compared
from pytest_pan.convergence import Convergence, Interval, ends_of
from pytest_pan.neurons import NO_SIDE, PAN_TYPES, SIDES, Histogram, Neuron, Side
from pytest_pan.plans import Control, Influence, Intrusion
from pytest_pan.verdicts import Limit, Outcome, Verdict

__all__ = [
    "METHOD",
    "NO_SIDE",
    "PAN_TYPES",
    "PRECISIONS",
    "SCHEMA",
    "SIDES",
    "Audit",
    "Convergence",
    "Histogram",
    "Interval",
    "Limit",
    "Measured",
    "Neuron",
    "Outcome",
    "Precision",
    "Quad",
    "Reliability",
    "Settings",
    "Side",
    "Site",
    "Skip",
    "Verdict",
]

SCHEMA = "pytest-pan/1"
"""Version of the JSON; the number rises when a key changes its meaning or goes."""

METHOD = 2
"""Version of the method; the number rises when the same audit gives other figures."""

Quad = tuple[int, int, int, int]
"""A number on each of the four sides, in the order top, bottom, left, right."""

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What the model computes in; the halves by autocast."""

Reliability = Literal["normal", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the audit's numbers, and how they were computed."""

    probes: tuple[str, ...] = ("pans",)
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
class Site:
    """One padded convolution as it ran: a module called twice is two sites."""

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    channels: int
    input: tuple[int, int]
    """Height and width of the map before padding."""
    map: tuple[int, int]
    """Height and width of the output."""
    padding: Quad
    consumed: Quad
    """How many padding rows and columns windows reach into; strides can leave some unread."""
    mode: str
    """zeros, constant, reflect, replicate, circular, or two of them joined by ``+``."""
    padded_by: str
    """``conv`` where conv2d itself pads, ``pad`` where a pad runs before it (as ``padding_mode``
    makes it), or ``pad+conv``."""
    reliability: Reliability

    def to_json(self) -> dict[str, Any]:
        return {
            f.name: list(value) if isinstance(value := getattr(self, f.name), tuple) else value
            for f in fields(self)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The value of a measure for the whole model and, where it has one, for each site."""

    measure: str
    value: float
    sites: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    """By class name (or number), for measures of classes."""
    control: Control | None = None
    """The same figure of random neurons, for measures of what the padding does to outputs."""
    bounds: tuple[float, float] | None = None
    """Least and most that it can be, where samples were counted between edges; else exact."""
    site_bounds: Mapping[str, Interval] = field(default_factory=dict)
    """The same of the sites."""
    interval: Interval | None = None
    """95 %, for the figure that very many images of the same kind would give (docs/method.md)."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """The same of the sites or the classes that have figures of their own."""

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "sites": dict(self.sites),
            "classes": dict(self.classes),
            "control": self.control.to_json() if self.control else None,
            "bounds": list(self.bounds) if self.bounds else None,
            "site_bounds": {name: list(ends) for name, ends in self.site_bounds.items()},
            "interval": list(self.interval) if self.interval else None,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
        }

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> Self:
        control = Control.from_json(data["control"]) if data["control"] else None
        parts = {
            key: {part: (low, high) for part, (low, high) in data.get(key, {}).items()}
            for key in ("site_bounds", "intervals")
        }
        values = {
            "control": control,
            "bounds": ends_of(data["bounds"]),
            "interval": ends_of(data.get("interval")),
            **parts,
        }
        return cls(**{**data, "measure": name, **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Something that was not examined, and the reason."""

    what: str
    why: str
    at_best: Outcome = "pass"
    """What a limit can come to that is about it too: a layer whose values are not finite belongs
    to the figures and is not in them, one without padding does not."""
    probe: str = ""
    """Whose figures lack it; empty where all do."""

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


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
    influence: tuple[Influence, ...] = ()
    intrusion: tuple[Intrusion, ...] = ()
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the outputs; empty where they are not known."""
    verdicts: tuple[Verdict, ...] = ()
    convergence: tuple[Convergence, ...] = ()
    """PANs at growing numbers of images, all of them last; empty where there are too few."""
    notes: tuple[str, ...] = ()
    """What weakens the figures: few images, small maps, ..."""
    partial: str = ""
    """Why the audit stopped early; empty when it ran to its end."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: ``load`` (waiting for images, in all passes), ``forward``, ``statistics``, and
    where they ran ``comparisons`` and ``intrusion``, each without loading. Of a cached audit,
    what it took when it was made."""
    cached: bool = False
    """Whether an earlier run made it."""
    baseline: Compared | None = None
    """How it compares with its baseline, in a run that has baselines."""

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
        """One entry of the JSON report's ``audits``; docs/reference.md lists the keys."""
        return {
            "model": dict(self.model),
            "images": dict(self.images),
            "environment": dict(self.environment),
            "settings": self.settings.to_json(),
            "sites": [site.to_json() for site in self.sites],
            "neurons": [neuron.to_json() for neuron in self.neurons],
            "measures": {name: m.to_json() for name, m in self.measures.items()},
            "skips": [skip.to_json() for skip in self.skips],
            "influence": [influence.to_json() for influence in self.influence],
            "intrusion": [intrusion.to_json() for intrusion in self.intrusion],
            "classes": list(self.classes),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "convergence": [step.to_json() for step in self.convergence],
            "notes": list(self.notes),
            "partial": self.partial,
            "seconds": dict(self.seconds),
            "cached": self.cached,
            "baseline": self.baseline.to_json() if self.baseline else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            **{
                **data,
                "settings": Settings.from_json(data["settings"]),
                "sites": tuple(Site.from_json(s) for s in data["sites"]),
                "neurons": tuple(Neuron.from_json(n) for n in data["neurons"]),
                "measures": {k: Measured.from_json(k, m) for k, m in data["measures"].items()},
                "skips": tuple(Skip.from_json(s) for s in data["skips"]),
                "influence": tuple(Influence.from_json(i) for i in data["influence"]),
                "intrusion": tuple(Intrusion.from_json(i) for i in data["intrusion"]),
                "classes": tuple(data["classes"]),
                "verdicts": tuple(Verdict.from_json(v) for v in data["verdicts"]),
                "convergence": tuple(
                    Convergence.from_json(step) for step in data.get("convergence", ())
                ),
                "notes": tuple(data["notes"]),
                "baseline": Compared.from_json(data["baseline"]) if data.get("baseline") else None,
            }
        )
