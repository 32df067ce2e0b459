"""The command ``pytest-pan``: what is not a test run. Torch is imported by ``sites`` alone."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_pan.errors import ConfigError, PanError
from pytest_pan.report import tables

if TYPE_CHECKING:
    from pytest_pan.preview import Preview
    from pytest_pan.records import Site


class _Refused(click.ClickException):
    """What is wrong, on one line, with the exit code of a usage error."""

    exit_code = 2


class _Commands(click.Group):
    """Commands whose :class:`PanError` is what the user reads, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PanError as error:
            raise _Refused(tables.printable(str(error))) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-pan")
def main() -> None:
    """Padding bias of CNNs, beside the test run (that is: pytest --pan-audit)."""


@main.command()
@click.argument("model")
@click.option("--arguments", metavar="JSON", default="{}", help="Keyword arguments of MODEL.")
@click.option("--size", metavar="N or HxW", default="224", show_default=True, help="Of the image.")
@click.option("--channels", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sites(model: str, arguments: str, size: str, channels: int, as_json: bool) -> None:
    """What would be examined of MODEL ("module:callable"), told by one forward pass on zeros.

    Exit code 1 where nothing would be.
    """
    keywords, (height, width) = _arguments(arguments), _size(size)
    with _importing_from_here(), contextlib.redirect_stdout(sys.stderr):
        from pytest_pan.preview import preview

        found = preview(model, (channels, height, width), arguments=keywords)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        click.echo("\n".join(_preview(found)))
    sys.exit(0 if found.sites else 1)


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        example = """such as '{"weights": "IMAGENET1K_V1"}'"""
        raise ConfigError("--arguments", got=repr(text), allowed=f"a JSON object, {example}")
    return found


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise ConfigError("--size", got=repr(text), allowed="pixels, N or HxW: 224, 320x640")
    return int(found[1]), int(found[2] or found[1])


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    """The working directory as a place to import from, as it is for ``python -m``."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _preview(found: Preview) -> Iterator[str]:
    shape = "x".join(map(str, found.shape))
    yield tables.printable(
        f"{found.model['name']} on an image of {shape}: {len(found.sites)} layers with "
        f"{found.neuron_count:,} neurons would be examined, {len(found.skips)} would not"
    )
    heads = ("site", "neurons", "kernel", "stride", "map", "padding", "consumed", "")
    if found.sites:
        yield from tables.lines(heads, [_row(found, s) for s in found.sites], right=("neurons",))
        yield tables.INDENT + "padding and consumed padding: top, bottom, left, right"
    if found.uneven:
        yield (
            f"uneven: {len(found.uneven)} of them consume different amounts of padding on opposite "
            "sides (measure uneven_layers; it depends on the size of the images)"
        )
    if found.skips:
        yield "not examined:"
        yield from tables.lines(("what", "why"), [(s.what, s.why) for s in found.skips])


def _row(found: Preview, site: Site) -> tuple[str, ...]:
    said = [site.mode] if site.mode != "zeros" else []
    said += ["uneven"] if site.name in found.uneven else []
    said += ["low reliability"] if site.reliability == "low" else []
    across = ("x".join(map(str, pair)) for pair in (site.kernel, site.stride, site.map))
    around = (" ".join(map(str, sides)) for sides in (site.padding, site.consumed))
    return (site.name, str(site.channels), *across, *around, ", ".join(said))
