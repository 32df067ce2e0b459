"""The study as text: progress lines, and the table beside the published one."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_pan.records.text import plural
from pytest_pan.report import tables
from pytest_pan.studies.border_handling.records import (
    CONFOUNDERS,
    SCHEMES,
    Run,
    Study,
    Summary,
)

_HEADS = ("padding", "training", "similar", "published", "dissimilar", "published")


def progress(done: int, total: int, run: Run, seconds: float) -> str:
    """Return the line of a finished run; ``seconds`` have passed since the start."""
    left = seconds / done * (total - done)
    return (
        f"{done} of {total}: {run.scheme}, seed {run.seed}: similar {100 * run.similar:.1f} %, "
        f"dissimilar {100 * run.dissimilar:.1f} %" + (f"; about {left:.0f} s left" if left else "")
    )


def lines(study: Study) -> Iterator[str]:
    """Yield the table, with what it means and what it does not."""
    protocol = study.protocol
    yield (
        f"border-handling: {plural(len(study.seeds), 'seed')} from {study.seeds[0]}, "
        f"{plural(protocol.images, 'training image')}, {plural(protocol.epochs, 'epoch')}, "
        f"batches of {protocol.batch}, {plural(protocol.tests, 'image')} in each test, on "
        f"{study.device}"
    )
    rows = [
        (
            scheme.name,
            _cell(study.summary(scheme.name, "training")),
            _cell(study.summary(scheme.name, "similar")),
            f"{scheme.similar:.1f}",
            _cell(study.summary(scheme.name, "dissimilar")),
            f"{scheme.dissimilar:.1f}",
        )
        for scheme in SCHEMES
    ]
    yield from tables.lines(_HEADS, rows, right=_HEADS[1:])
    spread = "mean ± standard deviation over seeds" if len(study.seeds) > 1 else "one seed"
    yield f"{tables.INDENT}accuracy in %, {spread}; published: Kayhan & van Gemert (F-Conv)"
    yield (
        "similar: the boxes lie where their class had them in training; dissimilar: 16 rows away, "
        "where the other class had them. A network that reads location fails there."
    )
    yield CONFOUNDERS


def _cell(found: Summary) -> str:
    spread = "" if found.deviation is None else f" ± {found.deviation:.1f}"
    return f"{found.mean:.1f}{spread}"
