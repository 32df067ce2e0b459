"""Report lines, section and advice of the probe ``uneven``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_pan.probes.probe import Page
from pytest_pan.probes.uneven.records import Layer, UnevenFindings
from pytest_pan.records.advice import Advice
from pytest_pan.records.audit import Audit
from pytest_pan.records.text import plural


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section."""

    sentence: str
    layers: tuple[Layer, ...]


def _findings(audit: Audit) -> UnevenFindings | None:
    found = audit.findings.get("uneven")
    return found if isinstance(found, UnevenFindings) else None


def sizes(several: Sequence[tuple[int, int]]) -> str:
    """Return heights and widths as text: ``193x193, 225x225``."""
    return ", ".join("x".join(map(str, each)) for each in several)


def sentence(found: UnevenFindings) -> str:
    """Return what is seen, in one sentence."""
    size = "x".join(map(str, found.size))
    count = len(found.uneven)
    if not count:
        text = f"at {size} no layer consumes different amounts of padding on opposite sides"
    else:
        pools = plural(count - found.convolutions, "pool")
        text = (
            f"at {size} {plural(count, 'layer')} ({plural(found.convolutions, 'convolution')}, "
            f"{pools}) consume different amounts of padding on opposite sides"
        )
        nearby = sizes(found.even_sizes)
        text += f", at {nearby} none does" if nearby else ", and no even size was found nearby"
    if found.dropped:
        left = "1 row or column" if found.dropped == 1 else f"{found.dropped:,} rows and columns"
        text += f"; no window reads {left} at the ends of maps"
    return text


def lines(audit: Audit) -> Iterator[str]:
    """Yield one sentence if a layer is uneven or drops cells."""
    found = _findings(audit)
    if found is not None and found.layers:
        yield f"uneven: {sentence(found)}"


def view(audit: Audit, page: Page) -> View | None:
    """Return the layers that are uneven or drop cells; None if there are none."""
    found = _findings(audit)
    if found is None or not found.layers:
        return None
    text = sentence(found)
    return View(sentence=f"{text[0].upper()}{text[1:]}.", layers=found.layers)


def advice(audit: Audit) -> Iterator[Advice]:
    """Yield to take images of the nearest even size, if a layer is uneven."""
    found = _findings(audit)
    if found is None or not found.uneven or found.nearest is None:
        return
    now, even = ("x".join(map(str, each)) for each in (found.size, found.nearest))
    effect = ""
    if found.asymmetry is not None:
        before, after = (f"{100 * each:.1f} %" for each in found.asymmetry)
        effect = f"Tried: the foveation asymmetry goes from {before} to {after}."
    yield Advice(
        what=f"Train and test on {even} images instead of {now}.",
        evidence=f"{plural(len(found.uneven), 'layer')} consume different amounts of padding on "
        f"opposite sides at {now}, none at {even}.",
        effect=effect,
        weight=0.4,
    )
