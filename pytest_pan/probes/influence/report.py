"""What the reports say of the predictions: lines for terminals, and the section of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_pan.charts import graphs
from pytest_pan.charts.densities import number
from pytest_pan.charts.graphs import Graph
from pytest_pan.probes.influence.classes import DASH, MINUS, Classes, beyond, classes, signed
from pytest_pan.probes.influence.measures import MEASURES
from pytest_pan.probes.influence.measures import text as text_of
from pytest_pan.probes.influence.records import Influence, InfluenceFindings
from pytest_pan.probes.influence.samples import Affected, affected, class_name
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Control

PICTURES = (400_000, 200_000, 100_000, 0)
"""Characters of pictures of samples in a page, shared among its audits; the next number where the
page is too large."""

LINES = 10
"""Draws that get a line; the counts and the table have all of them."""

Kind = Literal["pan", "draw", "whole"]

HEADINGS = (
    "channels swapped",
    "largest |log-odds|",
    "classes beyond 7 %",
    "predictions that flip",
    "out of the first five",
    "sample influence",
    "accuracy",
    "flips to right, to wrong",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A plan: its name, its draw's seed, and a text for each of the headings."""

    name: str
    seed: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A measure of the PANs beside the draws of random neurons."""

    measure: str
    value: str
    interval: str
    mean: str
    excess: str
    rank: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of one padding mode: the PANs' plan beside the draws and the whole network."""

    mode: str
    name: str
    graphs: tuple[Graph, ...]
    classes: tuple[Classes, ...]
    classes_of_draws: str
    borders: tuple[tuple[str, tuple[str, ...]], ...]
    samples: tuple[Affected, ...]
    pictures_left_out: int
    draws: int

    @property
    def kinds(self) -> set[str]:
        """Kinds of the lines that are drawn."""
        return {curve.kind for graph in self.graphs for curve in graph.curves}


@dataclass(frozen=True, slots=True)
class View:
    """All that the section shows of one audit."""

    rows: tuple[Row, ...]
    held: tuple[Held, ...]
    caution: str
    is_single: bool
    """Whether there are too few draws to tell anything by them."""
    has_odds: bool
    comparisons: tuple[Comparison, ...]
    kept: tuple[tuple[str, tuple[str, ...]], ...]
    """Why sites kept their padding, and which."""
    headings: tuple[str, ...] = HEADINGS
    most_lines: int = LINES
    size: tuple[int, int] = (graphs.GRAPH_WIDTH, graphs.GRAPH_HEIGHT)
    """Of a graph's plot."""

    @property
    def has_pictures(self) -> bool:
        """Whether any sample is shown with its picture."""
        return any(sample.picture for group in self.comparisons for sample in group.samples)


def _findings(audit: Audit) -> tuple[Influence, ...]:
    found = audit.findings.get("influence")
    return found.plans if isinstance(found, InfluenceFindings) else ()


def lines(audit: Audit) -> Iterator[str]:
    """What swapping the PANs' padding does, each figure beside the random draws'."""
    found = _findings(audit)
    if not found:
        return
    draws = sum(influence.plan.seed is not None for influence in found)
    yield f"with the padding of the PANs swapped ({found[0].plan.name}; random draws: {draws}):"
    for measure in MEASURES:
        measured = audit.measures.get(measure.name)
        if measured is None or measure.derived_from:
            continue
        control = measured.control
        others = ""
        if control is not None and control.draws:
            others = "  random neurons " + ", ".join(map(measure.text, control.draws))
        yield f"  {measure.name:<17} {measure.text(measured.value):>8}{others}"


def view(audit: Audit, page: Page) -> View | None:
    """Make the section, its pictures within ``page.share`` characters; None without plans."""
    found = _findings(audit)
    if not found:
        return None
    controls = {
        measure.name: control
        for measure in MEASURES
        if measure.name in audit.measures
        and (control := audit.measures[measure.name].control) is not None
    }
    plans = sum(kind(i) == "draw" for i in found)
    draws = min((len(control.draws) for control in controls.values()), default=plans)
    modes = dict.fromkeys(i.plan.mode for i in found)
    groups = [[i for i in found if i.plan.mode == mode] for mode in modes]
    kept = dict.fromkeys((why, site) for i in found for site, why in i.not_swappable.items())
    reasons = dict.fromkeys(why for why, _ in kept)
    return View(
        rows=tuple(_row(audit, influence) for influence in found),
        held=tuple(_held(name, control) for name, control in controls.items()),
        caution=caution(draws),
        is_single=draws < 2,
        has_odds=any(i.log_odds for i in found),
        comparisons=tuple(_comparison(audit, group, page.share // len(groups)) for group in groups),
        kept=tuple((why, tuple(s for w, s in kept if w == why)) for why in reasons),
    )


def kind(influence: Influence) -> Kind:
    """What a plan swaps: every channel, random neurons, or the PANs."""
    if influence.plan.channels is None:
        return "whole"
    return "draw" if influence.plan.name.startswith("RAND") else "pan"


def caution(draws: int) -> str:
    """What so many draws of random neurons allow to be said."""
    if draws == 0:
        return (
            "No random neurons were swapped for comparison: nothing here tells whether other "
            "neurons would shift the predictions as much."
        )
    if draws == 1:
        return (
            "Only one draw of random neurons was made. A single draw cannot tell whether the "
            "PANs shift the predictions more than other neurons would."
        )
    return (
        "Even if the PANs shifted the predictions no more than other neurons do, about one audit "
        f"in {draws + 1} would give a figure the rank 1 of {draws + 1}; more draws make that rarer."
    )


def _row(audit: Audit, influence: Influence) -> Row:
    plan, ratios = influence.plan, influence.log_odds
    known = [c for c, value in enumerate(ratios) if not math.isnan(value)]
    top = max(known, key=lambda c: abs(ratios[c]), default=None)
    unit = "pixels" if influence.by_distance else f"of {influence.images:,}"
    flips, top5 = influence.prediction_flips, influence.top5_flips
    right, wrong = influence.flips_to_right, influence.flips_to_wrong
    shares = (influence.accuracy_before, influence.accuracy)
    accuracy = [DASH if share is None else f"{100 * share:.2f} %" for share in shares]
    cells = (
        "all" if plan.size is None else f"{plan.size:,}",
        DASH if top is None else f"{signed(ratios[top])} {class_name(audit, top)}",
        f"{len(beyond(ratios)):,} of {len(ratios):,}" if ratios else DASH,
        DASH if flips is None else f"{flips:,} {unit}",
        DASH if top5 is None else f"{top5:,} {unit}",
        number(influence.sample_influence) if influence.images else DASH,
        DASH if shares == (None, None) else " → ".join(accuracy),
        DASH if right is None and wrong is None else f"{_count(right)}, {_count(wrong)}",
    )
    return Row(plan.name, "" if plan.seed is None else f"seed {plan.seed}", cells)


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _held(name: str, control: Control) -> Held:
    def text(value: float) -> str:
        return text_of(name, value).replace("-", MINUS)

    low, high, draws = control.low, control.high, len(control.draws)
    rank = f"{control.rank} of {draws + 1}"
    return Held(
        measure=name,
        value=text(control.value),
        interval=DASH if low is None or high is None else f"{text(low)} to {text(high)}",
        mean=text(math.fsum(control.draws) / draws) if draws else DASH,
        excess=text(control.excess) if draws else DASH,
        rank=rank if draws > 1 else "a single draw cannot tell" if draws else "no draws",
    )


def _comparison(audit: Audit, group: Sequence[Influence], room: int) -> Comparison:
    of_pans = next((i for i in group if kind(i) == "pan"), None)
    draws = [i for i in group if kind(i) == "draw"]
    whole = [i for i in group if kind(i) == "whole"]
    samples = of_pans.samples if of_pans else ()
    shown, left_out = affected(audit, samples, room)
    return Comparison(
        mode=group[0].plan.mode,
        name=of_pans.plan.name if of_pans else group[0].plan.name,
        graphs=tuple(_graphs([of_pans] if of_pans else [], draws, whole)),
        classes=classes(audit, of_pans) if of_pans and of_pans.log_odds else (),
        classes_of_draws=", ".join(f"{len(beyond(d.log_odds)):,}" for d in draws),
        borders=tuple(
            (_title(i), tuple(f"{100 * share:.2f} %" for share in i.by_distance))
            for i in group
            if i.by_distance
        ),
        samples=shown,
        pictures_left_out=left_out,
        draws=len(draws),
    )


def _title(influence: Influence) -> str:
    plan = influence.plan
    return plan.name if plan.seed is None else f"{plan.name} (seed {plan.seed})"


def finite(influence: Influence) -> list[float]:
    """The log-odds that can be drawn."""
    return [value for value in influence.log_odds if math.isfinite(value)]


def _graphs(
    of_pans: Sequence[Influence], draws: Sequence[Influence], whole: Sequence[Influence]
) -> list[Graph]:
    found = []
    ours, theirs = ([i for i in part if finite(i)] for part in (of_pans, draws))
    if shown := [*theirs[:LINES], *ours]:
        title = "Log-odds of the classes in order"
        lines = [(kind(i), finite(i)) for i in shown]
        found.append(graphs.ordered_graph(title, lines, _about(shown)))
    if ours:
        title = "Classes by their log-odds"
        counts = [finite(i) for i in theirs]
        found.append(
            graphs.histogram_graph(title, finite(ours[0]), counts, _about([*ours, *theirs]))
        )
    for influence in whole:
        if finite(influence):
            title = f"{influence.plan.name} in every channel, on a scale of its own"
            line = [("whole", finite(influence))]
            found.append(graphs.ordered_graph(title, line, _about([influence])))
    rings = [i for i in [*draws[:LINES], *of_pans, *whole] if i.by_distance]
    if rings:
        title = "Pixels whose class stays, by distance to the border"
        shares = [(kind(i), i.by_distance) for i in rings]
        found.append(graphs.share_graph(title, shares, "The table below has the numbers."))
    return found


def _about(shown: Sequence[Influence]) -> str:
    """What a graph shows, in words."""
    parts = []
    for influence in shown:
        values = sorted(finite(influence))
        middle = values[len(values) // 2]
        left_out = len(influence.log_odds) - len(values)
        parts.append(
            f"{_title(influence)}: {len(values):,} classes from {signed(values[0])} to "
            f"{signed(values[-1])}, median {signed(middle)}"
            + (f", {left_out:,} without finite log-odds left out" if left_out else "")
        )
    return "; ".join(parts) + "."


def demand(audit: Audit) -> int:
    """Count the characters of the pictures of the audit's samples."""
    pans = (influence for influence in _findings(audit) if kind(influence) == "pan")
    return sum(len(sample.thumbnail) for influence in pans for sample in influence.samples)
