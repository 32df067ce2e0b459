"""Builders of audit records, plausible and seeded, and readers of the page made from them."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.records import (
    PAN_TYPES,
    SIDES,
    Audit,
    Histogram,
    Limit,
    Measured,
    Neuron,
    Outcome,
    Settings,
    Side,
    Site,
    Skip,
    Verdict,
)

HOSTILE = (
    """<b onclick="alert(1)">x</b></script></style><script>alert(2)</script>'"&amp;{{ 7*7 }}"""
)
VOID = {"meta", "input", "link", "br", "img", "hr"}


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
    uneven = {s.name: float(len({*s.consumed[:2]}) + len({*s.consumed[2:]}) > 2) for s in sites}
    total = sum(s.channels for s in sites)
    values = {
        "pan_fraction": (len(neurons) / total if total else 0.0, share),
        "pan_count": (float(len(neurons)), count),
        "layer_pan_fraction": (max(share.values(), default=0.0), share),
        "edge_detector_count": (sum(count.values()) * 3, {s: 3 * c for s, c in count.items()}),
        "uneven_layers": (sum(uneven.values()), uneven),
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
        "settings": Settings(),
        "sites": tuple(sites),
        "neurons": tuple(neurons),
        "measures": make_measures(sites, neurons),
        "skips": (Skip(what="features.1.conv", why="1x1 kernel"),),
        "seconds": {"forward": 12.25, "statistics": 3.5},
    }
    return Audit(**fields | changes)


def _nth_neuron(sites: Sequence[Site], index: int) -> Neuron:
    site = sites[index % len(sites)]
    return make_neuron(site.name, index // len(sites), PAN_TYPES[index % len(PAN_TYPES)])


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
    return Audit.from_json(swapped)


class Page(HTMLParser):
    """Tags with their attributes and the text inside each, in document order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.unclosed), data))

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if name in attrs]

    def inside(self, tag: str) -> list[str]:
        return [text for stack, text in self.texts if tag in stack]

    @property
    def text(self) -> str:
        return "".join(t for stack, t in self.texts if not {"style", "script"} & {*stack})


def browse(folder: Path, text: str, anchor: str = "") -> tuple[str, str]:
    """The page as Chromium has it after loading, and what it logged."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium to load the page in")
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--enable-logging=stderr --v=0 --dump-dom"
    )
    done = subprocess.run(
        [chromium, *flags.split(), f"--user-data-dir={folder / 'profile'}", path.as_uri() + anchor],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


def opened(dom: str) -> set[str]:
    tags = Page(dom).tags
    return {a["id"] for tag, a in tags if tag == "details" and "open" in a and "id" in a}


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two #rrggbb colours, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
        parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
