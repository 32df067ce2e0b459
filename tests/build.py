"""Builders of audit records, plausible and seeded."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_pan.probes.influence.records import Influence, InfluenceFindings, Sample
from pytest_pan.probes.pans.records import PansFindings
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit, Settings, Skip
from pytest_pan.records.completeness import Collected, RunSummary, summarize
from pytest_pan.records.limits import Limit, Outcome, Verdict
from pytest_pan.records.measures import Control, Measured
from pytest_pan.records.neurons import PAN_TYPES, SIDES, Histogram, Neuron, Side
from pytest_pan.records.plans import Plan
from pytest_pan.records.sites import Site

HOSTILE = (
    """<b onclick="alert(1)">x</b></script></style><script>alert(2)</script>'"&amp;{{ 7*7 }}"""
)


def make_site(name: str = "features.0.conv", **changes: Any) -> Site:
    """A 3x3 convolution of 32 channels on a map of 56x56."""
    fields: dict[str, Any] = {
        "name": name,
        "kernel": (3, 3),
        "stride": (1, 1),
        "dilation": (1, 1),
        "groups": 1,
        "channels": 32,
        "input": (56, 56),
        "map": (56, 56),
        "padding": (1, 1, 1, 1),
        "consumed": (1, 1, 1, 1),
        "mode": "zeros",
        "padded_by": "conv",
        "reliability": "normal",
    }
    return Site(**fields | changes)


def make_histogram(
    type: str = "T", *, sign: int = 1, seed: int = 0, bins: int = 60, values: int = 400
) -> Histogram:
    """Borders of the type lie in two modes above the centre (below for sign -1), others in it."""
    rng = random.Random(seed)
    low, high = -8.0, 6.0
    centre = [rng.gauss(-1, 1.2) for _ in range(values * 12)]
    regions = {"centre": centre, "centre_high": sorted(centre)[-values:]}
    regions["centre_low"] = sorted(centre)[:values]
    for side in SIDES:
        far = -1 + sign * rng.uniform(4.5, 5.5)
        modes = (far, far - sign * 1.5) if side in type else (-1.0, -0.6)
        spread = rng.uniform(0.4, 0.8)
        regions[side] = [rng.gauss(rng.choice(modes), spread) for _ in range(values)]
    counts = {region: _binned(found, low, high, bins) for region, found in regions.items()}
    return Histogram(low=low, high=high, counts=counts)


def _binned(values: Sequence[float], low: float, high: float, bins: int) -> tuple[int, ...]:
    counts = [0] * bins
    for value in values:
        index = int((value - low) / (high - low) * bins)
        counts[min(max(index, 0), bins - 1)] += 1
    return tuple(counts)


def make_neuron(
    site: str = "features.0.conv", channel: int = 0, type: str = "T", **changes: Any
) -> Neuron:
    """A PAN of that type, clear on its sides and quiet on the others."""
    rng = random.Random(f"{site}/{channel}")
    high = {s: rng.uniform(0.6, 1.0) if s in type else rng.uniform(0, 0.3) for s in SIDES}
    sign = rng.choice((-1, 1))
    fields: dict[str, Any] = {
        "site": site,
        "channel": channel,
        "type": Side.parse(type),
        "edges": Side.parse(type),
        "ks": {s: min(1.0, value + 0.05) for s, value in high.items()},
        "ks_plus": {s: value if sign > 0 else 0.0 for s, value in high.items()},
        "ks_minus": {s: 0.0 if sign > 0 else value for s, value in high.items()},
        "profile": {
            s: tuple((v / d, max(sign, 0) * v / d, max(-sign, 0) * v / d) for d in range(1, 5))
            for s, v in high.items()
        },
        "histogram": make_histogram(type, sign=sign, seed=channel),
    }
    return Neuron(**fields | changes)


def make_verdict(
    keyword: str = "max_pan_fraction",
    outcome: Outcome = "pass",
    *,
    bound: float = 0.03,
    value: float = 0.02,
    evidence: Sequence[str] = (),
    origin: str = "test_padding.py::test_padding",
) -> Verdict:
    """A limit held against a value; the outcome is the caller's."""
    direction: Any = keyword[:3]
    limit = Limit(measure=keyword[4:], direction=direction, bound=bound, origin=origin)
    return Verdict(limit=limit, value=value, outcome=outcome, evidence=tuple(evidence))


def make_measures(sites: Sequence[Site], neurons: Sequence[Neuron]) -> dict[str, Measured]:
    """The measures counted anew from the records."""
    count = {s.name: float(sum(n.site == s.name for n in neurons)) for s in sites}
    share = {s.name: count[s.name] / s.channels for s in sites}
    total = sum(s.channels for s in sites)
    values = {
        "pan_fraction": (len(neurons) / total if total else 0.0, share),
        "pan_count": (float(len(neurons)), count),
        "layer_pan_fraction": (max(share.values(), default=0.0), share),
        "edge_detector_count": (sum(count.values()) * 3, {s: 3 * c for s, c in count.items()}),
    }
    return {
        name: Measured(measure=name, value=value, sites=by_site)
        for name, (value, by_site) in values.items()
    }


def make_audit(
    name: str = "mobilenet_v2",
    *,
    sites: Sequence[Site] | int = 2,
    neurons: Sequence[Neuron] | int = 3,
    model: Mapping[str, Any] | None = None,
    influence: Sequence[Influence] = (),
    **changes: Any,
) -> Audit:
    """An audit; numbers instead of sites and neurons make that many, spread over the layers."""
    if isinstance(sites, int):
        sites = [make_site(f"features.{i}.conv", channels=512) for i in range(sites)]
    if isinstance(neurons, int):
        neurons = [_nth_neuron(sites, index) for index in range(neurons)]
    fields: dict[str, Any] = {
        "model": model or {"name": name, "digest": "sha256:3f1c9a", "parameters": 3_504_872},
        "images": {
            "count": 210,
            "digest": "sha256:77aa01",
            "shape": [3, 224, 224],
            "source": "tests/images",
            "transform": "resize 256, crop 224",
        },
        "environment": {"python": "3.11", "torch": "2.4.0", "device": "cpu"},
        "settings": Settings(probes=("pans",)),
        "sites": tuple(sites),
        "neurons": tuple(neurons),
        "measures": make_measures(sites, neurons),
        "skips": (Skip(what="features.1.conv", why="1x1 kernel"),),
        "seconds": {"load": 5.25, "forward": 12.25, "pans": 3.5},
        "findings": {"pans": PansFindings()},
    }
    if influence:
        fields["findings"]["influence"] = InfluenceFindings(tuple(influence))
    return Audit(**fields | changes)


def make_ran(audits: Sequence[Audit], *, had: int, **collected: int) -> RunSummary:
    """What was expected of a run that made these audits, ``had`` of them in the tests' hands."""
    return summarize(Collected(**collected), had, audits)


def _nth_neuron(sites: Sequence[Site], index: int) -> Neuron:
    site = sites[index % len(sites)]
    return make_neuron(site.name, index // len(sites), PAN_TYPES[index % len(PAN_TYPES)])


def make_png(seed: int = 0, side: int = 24) -> str:
    """A PNG of coloured blocks in base64, built from the format's definition."""
    rng = random.Random(seed)
    colours = [bytes(rng.randrange(256) for _ in range(3)) for _ in range(9)]
    rows = (
        b"\0" + b"".join(colours[3 * y // side * 3 + 3 * x // side] for x in range(side))
        for y in range(side)
    )

    def chunk(name: bytes, data: bytes) -> bytes:
        whole = name + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")).decode()


def make_influence(
    name: str = "PAN-reflect",
    *,
    spread: float = 0.05,
    classes: int = 20,
    seed: int | None = None,
    size: int | None = 81,
    affected: int = 0,
    **changes: Any,
) -> Influence:
    """Normal log-odds of that spread; a plan of ``size`` channels, None for all of them."""
    rng = random.Random(f"{name}/{seed}")
    log_odds = [rng.gauss(0, spread) for _ in range(classes)]
    chosen = None if size is None else {"features.0.conv": tuple(range(size))}
    plan = Plan(name=name, mode=name.rpartition("-")[2], seed=seed, channels=chosen)
    fields: dict[str, Any] = {
        "plan": plan,
        "images": 210,
        "log_odds": tuple(log_odds),
        "log_odds_low": tuple(value - 0.02 for value in log_odds),
        "log_odds_high": tuple(value + 0.02 for value in log_odds),
        "prediction_flips": round(100 * spread),
        "top5_flips": round(10 * spread),
        "sample_influence": 80 * spread,
        "distances": tuple(8 * spread * n for n in range(11)),
        "samples": tuple(
            Sample(
                index=7 * n,
                distance=4.0 / (1 + n),
                before=n % classes,
                after=(n + n % 3) % classes,
                label=n % classes if n % 2 else None,
                thumbnail=make_png(n),
            )
            for n in range(affected)
        ),
    }
    return Influence(**fields | changes)


def make_plans(draws: int = 3, **changes: Any) -> tuple[Influence, ...]:
    """PAN-reflect with samples, draws of RAND-reflect, and reflect, in this order."""
    return (
        make_influence(affected=4, **changes),
        *(make_influence("RAND-reflect", spread=0.01, seed=s, **changes) for s in range(draws)),
        make_influence("reflect", spread=0.3, size=None, **changes),
    )


def make_control(name: str = "log_odds_shift", draws: Sequence[float] = (0.02, 0.01)) -> Measured:
    """A measure held against draws."""
    control = Control(value=0.15, draws=tuple(draws), low=0.12, high=0.19)
    return Measured(measure=name, value=control.value, control=control)


def hostile() -> Audit:
    """Every text of an audit is an attack, each with a number of its own."""
    text = (f"{HOSTILE}{n};" for n in range(99))
    site = make_site(next(text), mode=next(text), padded_by=next(text))
    verdict = make_verdict(outcome="fail", evidence=[next(text)], origin=next(text))
    return make_audit(
        sites=[site],
        neurons=[make_neuron(site.name, 1), make_neuron(site.name, 2, histogram=None)],
        model={"name": next(text), next(text): next(text)},
        images={next(text): {next(text): next(text)}},
        environment={next(text): [next(text)]},
        skips=(Skip(what=next(text), why=next(text)),),
        notes=(next(text),),
        partial=next(text),
        verdicts=(verdict,),
        seconds={next(text): 1.0},
        classes=tuple(next(text) for _ in range(3)),
        influence=tuple(_hostile_influence(text) for _ in range(2)),
    )


def _hostile_influence(text: Iterator[str]) -> Influence:
    plan = Plan(name=next(text), mode=next(text), channels={next(text): (1, 2)})
    sample = Sample(index=0, distance=1.0, before=0, after=1, label=2, thumbnail=next(text))
    return Influence(
        plan=plan,
        images=5,
        log_odds=(0.2, -0.3, 0.1),
        log_odds_low=(0.1, -0.4, 0.0),
        log_odds_high=(0.3, -0.2, 0.2),
        samples=(sample,),
        not_swappable={next(text): next(text)},
    )


def plain_twin() -> Audit:
    """The hostile audit with words in place of the attacks."""
    words = hostile().to_json()

    def swap(value: object) -> object:
        if isinstance(value, str) and value.startswith(HOSTILE):
            return f"word{value.removeprefix(HOSTILE)}"
        if isinstance(value, dict):
            return {swap(k): swap(v) for k, v in value.items()}
        return [swap(v) for v in value] if isinstance(value, list) else value

    swapped = swap(words)
    assert isinstance(swapped, dict)
    return read_audit(swapped)
