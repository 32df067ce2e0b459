"""The command ``pytest-pan``. ``sites``, ``study`` and ``reproduce`` import torch, when run."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_pan.config.files import why_not_writable, write_text
from pytest_pan.records.errors import ConfigError, PanError, shortened
from pytest_pan.records.text import cut, escaped, plural
from pytest_pan.report import reading, tables
from pytest_pan.reproduction.command import reproduce
from pytest_pan.studies.command import study

if TYPE_CHECKING:
    from pytest_pan.engine.preview import Preview
    from pytest_pan.records.audit import Audit
    from pytest_pan.records.completeness import RunSummary
    from pytest_pan.records.sites import Site


class _UsageError(click.ClickException):
    """A one-line error message with the exit code of a usage error."""

    exit_code = 2


class _Commands(click.Group):
    """Command group that prints a :class:`PanError` without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PanError as error:
            raise _UsageError(tables.printable(str(error))) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-pan")
def main() -> None:
    """Tools for padding audits of CNNs. To run audits, use pytest --pan-audit."""


main.add_command(study)
main.add_command(reproduce)


@main.command()
@click.argument("model")
@click.option("--arguments", metavar="JSON", default="{}", help="Keyword arguments of MODEL.")
@click.option("--size", metavar="N or HxW", default="224", show_default=True, help="Image size.")
@click.option(
    "--channels",
    type=click.IntRange(min=1, max=65_536),
    default=3,
    show_default=True,
    help="Channels of the image.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sites(model: str, arguments: str, size: str, channels: int, as_json: bool) -> None:
    """List the layers of MODEL ("module:callable") that an audit would examine.

    Runs one forward pass on zeros. The exit code is 1 if no layer would be examined.
    """
    keywords, (height, width) = _arguments(arguments), _size(size)
    with _importing_from_cwd(), contextlib.redirect_stdout(sys.stderr):
        from pytest_pan.engine.preview import preview

        found = preview(model, (channels, height, width), arguments=keywords)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        click.echo("\n".join(_preview(found)))
    sys.exit(0 if found.sites else 1)


@main.command()
@click.option("--markdown", is_flag=True, help="Print the Markdown tables of docs/reference.md.")
def probes(markdown: bool) -> None:
    """List the probes with their questions, costs and measures."""
    from pytest_pan.probes import table

    if markdown:
        click.echo(table.markdown(), nl=False)
        return
    for probe in table.PROBES:
        always = ", in every audit" if probe.is_always_on else ""
        click.echo(f"{probe.name}: {probe.question}")
        click.echo(f"{tables.INDENT}cost: {probe.cost}{always}")
        for measure in probe.measures:
            click.echo(f"{tables.INDENT}{measure.name}: {measure.meaning}")


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        example = """such as '{"weights": "IMAGENET1K_V1"}'"""
        raise ConfigError("--arguments", got=shortened(text), allowed=f"a JSON object, {example}")
    return found


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not found:
        raise ConfigError("--size", got=shortened(text), allowed="pixels, N or HxW: 224, 320x640")
    return int(found[1]), int(found[2] or found[1])


@contextlib.contextmanager
def _importing_from_cwd() -> Iterator[None]:
    """Allow imports from the working directory, as ``python -m`` does."""
    cwd = str(Path.cwd())
    sys.path.insert(0, cwd)
    try:
        yield
    finally:
        sys.path.remove(cwd)


def _preview(found: Preview) -> Iterator[str]:
    shape = "x".join(map(str, found.shape))
    yield tables.printable(
        f"{cut(str(found.model['name']))} on an image of {shape}: "
        f"{plural(len(found.sites), 'layer')} with {plural(found.neuron_count, 'neuron')} would be "
        f"examined, {len(found.skips):,} would not"
    )
    heads = ("site", "neurons", "kernel", "stride", "map", "padding", "consumed", "")
    if found.sites:
        yield from tables.lines(heads, [_row(found, s) for s in found.sites], right=("neurons",))
        yield tables.INDENT + "padding and consumed padding: top, bottom, left, right"
    if found.uneven:
        uneven = plural(len(found.uneven), "layer")
        uneven += " consumes" if len(found.uneven) == 1 else " consume"
        yield (
            f"uneven: {uneven} different amounts of padding on opposite "
            "sides (measure uneven_layers; it depends on the image size)"
        )
        for pool in found.pools:
            sides = " ".join(str(n) for axis in pool.axes for n in axis.consumed)
            yield f"{tables.INDENT}pool {pool.name}: consumed {sides}"
        even = ", ".join("x".join(map(str, size)) for size in found.even_sizes)
        yield f"{tables.INDENT}nearest sizes without any: {even or 'none found'}"
    if found.dropped:
        yield "rows and columns at the end that no window reads (measure dropped_cells):"
        rows = [(name, *map(str, dropped)) for name, dropped in found.dropped.items()]
        yield from tables.lines(("layer", "rows", "columns"), rows, right=("rows", "columns"))
    if found.skips:
        yield "not examined:"
        yield from tables.lines(("what", "why"), [(s.what, s.why) for s in found.skips])


def _row(found: Preview, site: Site) -> tuple[str, ...]:
    remarks = [site.mode] if site.mode != "zeros" else []
    remarks += ["uneven"] if site.name in found.uneven else []
    remarks += ["low reliability"] if site.reliability == "low" else []
    pairs = ("x".join(map(str, pair)) for pair in (site.kernel, site.stride, site.map))
    sides = (" ".join(map(str, quad)) for quad in (site.padding, site.consumed))
    return (site.name, str(site.channels), *pairs, *sides, ", ".join(remarks))


@main.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--audit", metavar="NAME", default="", help="Compare the audit of this model only.")
@click.option(
    "--tolerance", type=float, default=0.0, help="Largest relative change that counts as the same."
)
def compare(before: Path, after: Path, audit: str, tolerance: float) -> None:
    """Compare the measures of two JSON reports.

    The exit code is 1 if a measure is worse or missing after, 2 for a usage error.
    """
    from pytest_pan.report import differences
    from pytest_pan.verdicts import comparison

    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError("--tolerance", got=str(tolerance), allowed="a number from 0")
    reports = [reading.read(path) for path in (before, after)]
    bodies = [[b for b in r.bodies if audit in ("", b["model"]["name"])] for r in reports]
    found = comparison.compare(*bodies, tolerance=tolerance)
    if not bodies[0]:
        raise ConfigError(
            "no audit to compare",
            where=f"--audit {audit}" if audit else "",
            got=f"none with that name in {before}" if audit else f"none in {before}",
            allowed=" and ".join(f"{r.path}: {differences.names(r)}" for r in reports),
        )
    click.echo("\n".join(differences.lines(found, *reports)))
    sys.exit(1 if found.is_worse or reports[1].partial else 0)


@main.command()
@click.argument("report", type=click.Path(path_type=Path))
@click.option("--audit", metavar="NAME", default="", help="Suggest for this model only.")
def suggest(report: Path, audit: str) -> None:
    """Print limits to start from, just above what the audits of a JSON REPORT measured.

    The exit code is 1 if there are none, because the report has no audit with intervals.
    """
    from pytest_pan.verdicts import suggestions

    audits = reading.read(report).audits()
    chosen = [each for each in audits if audit in ("", each.model["name"])]
    for each in chosen:
        click.echo("\n".join(map(escaped, suggestions.lines(each))))
    sys.exit(0 if any(map(suggestions.suggested, chosen)) else 1)


@main.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "out", metavar="OUT", required=True, type=click.Path(path_type=Path))
@click.option("--html", metavar="OUT", type=click.Path(path_type=Path), help="Also write HTML.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def merge(shards: tuple[Path, ...], out: Path, html: Path | None, force: bool) -> None:
    """Merge JSON reports, such as those of several machines, into one.

    An audit that several reports have appears once, with all verdicts. If its values differ between
    reports, all versions are kept.
    """
    from pytest_pan.engine import merge as merging
    from pytest_pan.report import json as json_report

    for path in (out, *([html] if html else [])):
        _check_target(path, shards, force)
    if html and html.resolve() == out.resolve():
        raise ConfigError("--html", got=str(html), allowed="another file than -o")
    reports = [reading.read(path) for path in shards]
    merged = merging.merge(audit for report in reports for audit in report.audits())
    partial = "; ".join(
        f"{report.path.name}: {report.partial}" for report in reports if report.partial
    )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    command = shlex.join(["pytest-pan", "merge", *map(str, shards), "-o", str(out)])
    ran = merging.together([report.ran for report in reports], merged.audits)
    seconds = _write_html(html, merged.audits, partial, created, command, ran) if html else {}
    text = json_report.render(
        merged.audits,
        partial=partial,
        created=created,
        seconds=seconds,
        ran=ran.to_json() if ran else None,
    )
    _write(out, text)
    click.echo(
        f"{tables.printable(str(out))}: {plural(len(merged.audits), 'audit')} from "
        f"{plural(len(reports), 'report')}"
        + (f", {plural(merged.same, 'duplicate')} merged" if merged.same else "")
    )
    if ran:
        click.echo(ran.line())
    for report in reports:
        if not report.ran:
            click.echo(
                tables.printable(
                    f"{report.path}: no summary of expected audits (ran), so {out} has none either"
                ),
                err=True,
            )
    for name in merged.conflicting:
        click.echo(
            tables.printable(f"{name}: values differ between machines, all versions kept"), err=True
        )
    if partial:
        click.echo(tables.printable(f"PARTIAL: {partial}"), err=True)


def _check_target(path: Path, shards: tuple[Path, ...], force: bool) -> None:
    if any(path.resolve() == shard.resolve() for shard in shards):
        raise ConfigError("output", where=str(path), got="one of the reports to merge")
    if path.exists() and not force:
        raise ConfigError("output", where=str(path), got="a file that exists", next="Try --force.")
    if why := why_not_writable(path):
        raise ConfigError(f"output: {why}")


def _write_html(
    path: Path,
    audits: tuple[Audit, ...],
    partial: str,
    created: str,
    command: str,
    ran: RunSummary | None,
) -> dict[str, float]:
    from jinja2 import TemplateError

    from pytest_pan.report import html

    started = time.perf_counter()
    try:
        page = html.render(audits, partial=partial, created=created, command=command, ran=ran)
    except (*reading.ERRORS, TemplateError) as error:
        raise ConfigError(  # the parts have the right types, but contradict each other
            f"the page cannot be made of these reports ({type(error).__name__}: {error})",
            where=str(path),
            next="Leave --html out, or create the reports again.",
        ) from None
    _write(path, page)
    return {"report": time.perf_counter() - started}


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ConfigError(
            "not written", where=str(path), got=os.strerror(error.errno or 0)
        ) from None
