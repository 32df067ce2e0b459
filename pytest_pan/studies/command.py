"""The command ``pytest-pan study``. A study imports torch once it runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from pytest_pan.config.files import why_not_writable, write_text
from pytest_pan.records.errors import ConfigError
from pytest_pan.report import tables
from pytest_pan.studies.border_handling import report
from pytest_pan.studies.border_handling.records import Protocol, Run

_SIZES = Protocol()


@click.group()
def study() -> None:
    """Train small networks of different padding, to compare the padding."""


@study.command("border-handling")
@click.option(
    "--seeds",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Networks of each padding scheme.",
)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0, 2**32),
    default=0,
    show_default=True,
    help="First seed; the others follow it.",
)
@click.option(
    "--images",
    metavar="N",
    type=click.IntRange(2, 1_000_000),
    default=_SIZES.images,
    show_default=True,
    help="Training images.",
)
@click.option(
    "--epochs",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=_SIZES.epochs,
    show_default=True,
    help="Epochs of training.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, 1_024),
    help="Parallel processes; they change no figure.  [default: CPUs]",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--json", "out", metavar="FILE", type=click.Path(path_type=Path), help="Also write JSON."
)
@click.option("--force", is_flag=True, help="Overwrite an existing FILE.")
def border_handling(
    seeds: int,
    seed: int,
    images: int,
    epochs: int,
    workers: int | None,
    device: str,
    out: Path | None,
    force: bool,
) -> None:
    """Compare how four padding schemes let a network read location (red-green test of F-Conv).

    Trains 4 x SEEDS small networks, about 30 s of a CPU each by default.
    """
    if out:
        _check(out, force)
    from pytest_pan.studies.border_handling import training

    start = time.perf_counter()

    def show(done: int, total: int, run: Run) -> None:
        click.echo(report.progress(done, total, run, time.perf_counter() - start), err=True)

    found = training.study(
        Protocol(images=images, epochs=epochs),
        range(seed, seed + seeds),
        workers=workers,
        device=device,
        progress=show,
    )
    click.echo("\n".join(report.lines(found)))
    if out:
        _write(out, json.dumps(found.to_json(), indent=1) + "\n")


def _check(out: Path, force: bool) -> None:
    """Refuse before training what cannot be written after it."""
    if out.exists() and not force:
        raise ConfigError("--json", where=str(out), got="a file that exists", next="Try --force.")
    if why := why_not_writable(out):
        raise ConfigError(f"--json: {why}")


def _write(out: Path, text: str) -> None:
    try:
        write_text(out, text)
    except OSError as error:
        raise ConfigError(
            "not written", where=tables.printable(str(out)), got=os.strerror(error.errno or 0)
        ) from None
