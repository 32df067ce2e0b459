"""The command ``pytest-pan reproduce``. It imports torch once it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pytest_pan.config.files import write_text
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError, did_you_mean
from pytest_pan.records.text import escaped
from pytest_pan.report import html, json
from pytest_pan.reproduction import text
from pytest_pan.reproduction.published import NETWORKS


@click.command()
@click.option(
    "--images",
    metavar="DIR",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Photographs, such as ImageNet's validation set; class folders are not needed.",
)
@click.option(
    "--model",
    "chosen",
    metavar="NAME",
    multiple=True,
    help=f"One of {', '.join(NETWORKS)}, or module:callable of another ImageNet classifier. "
    "Repeatable.  [default: the three]",
)
@click.option(
    "--weights", metavar="NAME=FILE", multiple=True, help="State dict of one of the three."
)
@click.option("--download", is_flag=True, help="Let torchvision download missing weights.")
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write HTML.")
@click.option("--json", "data", metavar="FILE", type=click.Path(path_type=Path), help="Write JSON.")
def reproduce(
    images: Path,
    chosen: tuple[str, ...],
    weights: tuple[str, ...],
    download: bool,
    page: Path | None,
    data: Path | None,
) -> None:
    """Measure the tables of "Padding Aware Neurons" on your images, beside the published figures.

    Tables 1 to 3 and Figures 9 and 10, for torchvision's ResNet-50, MobileNetV3-Large and
    GoogLeNet. Networks whose weights are not on this machine are named and left out. The exit code
    is 1 if none could be audited.
    """
    files = _files(weights)
    for name in chosen:
        _check_name(name)
    audits: list[Audit] = []
    with _importing_from_cwd():
        for name in chosen or tuple(NETWORKS):
            found = _audited(name, images, files.get(name), download)
            if isinstance(found, str):
                click.echo(found)
                continue
            audits.append(found)
            for line in text.lines(name, found, NETWORKS.get(name)):
                click.echo(escaped(line))
    if page and audits:
        write_text(page, html.render(audits))
    if data and audits:
        write_text(data, json.render(audits))
    sys.exit(0 if audits else 1)


def _audited(name: str, images: Path, file: Path | None, download: bool) -> Audit | str:
    """Return the audit of a network, or what is missing for it."""
    from pytest_pan.engine.pipeline import audit
    from pytest_pan.reproduction import networks

    if name in NETWORKS:
        net = networks.network(name, file, download=download)
        if isinstance(net, networks.Missing):
            return (
                f"{name}: no weights. Put {net.file} into {net.folder} (from {net.url}), name "
                f"another place by --weights {name}=FILE, or give --download."
            )
    else:
        net = networks.other(name)
    click.echo(f"{name}: audit of {images}", err=True)
    return audit(
        net,
        str(images),
        probes=("influence",),
        transform=networks.preset(),
        classes=networks.names(),
        name=name,
    )


def _files(weights: Iterable[str]) -> dict[str, Path]:
    found = {}
    for each in weights:
        name, equals, file = each.partition("=")
        if not equals or name not in NETWORKS:
            raise ConfigError("--weights", got=each, allowed=f"NAME=FILE, of {', '.join(NETWORKS)}")
        if not Path(file).is_file():
            raise ConfigError("--weights", got=f"{file}, which is no file", allowed="a file")
        found[name] = Path(file)
    return found


def _check_name(name: str) -> None:
    if name not in NETWORKS and ":" not in name:
        raise ConfigError(
            "--model",
            got=name,
            allowed=f"{', '.join(NETWORKS)}, or module:callable",
            next=did_you_mean(name, NETWORKS),
        )


@contextmanager
def _importing_from_cwd() -> Iterator[None]:
    """Allow imports from the working directory, as ``python -m`` does."""
    cwd = str(Path.cwd())
    sys.path.insert(0, cwd)
    try:
        yield
    finally:
        sys.path.remove(cwd)
