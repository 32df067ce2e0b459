"""Influence in the reports: terminal lines and the section of the HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_pan.charts import graphs
from pytest_pan.charts.densities import number
from pytest_pan.charts.graphs import Graph
from pytest_pan.probes.influence.classes import (
    DASH,
    MINUS,
    Classes,
    classes,
    shifted,
    signed,
    supported,
)
from pytest_pan.probes.influence.measures import MEASURES
from pytest_pan.probes.influence.measures import text as text_of
from pytest_pan.probes.influence.records import Influence, InfluenceFindings
from pytest_pan.probes.influence.samples import Affected, affected, class_name
from pytest_pan.probes.probe import Page
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Control, Measured

PICTURES = (400_000, 200_000, 100_000, 0)
"""Characters of thumbnails on a page, one limit per level; the audits share them."""

LINES = 10
"""Number of draws drawn as lines; the counts and the table include all draws."""

Kind = Literal["pan", "draw", "whole"]

HEADINGS = (
    "channels swapped",
    "mean |log-odds|",
    "largest |log-odds|",
    "classes beyond 7 %",
    "divergence, 99th percentile",
    "predictions that flip",
    "out of the top five",
    "sample influence",
    "accuracy",
    "flips to right, to wrong",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Row of the plan table: name, seed of the draw, and one cell per heading."""

    name: str
    seed: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControlRow:
    """Row that compares a measure of the PANs to the draws of random neurons."""

    measure: str
    value: str
    interval: str
    mean: str
    excess: str
    rank: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of one padding mode: the PAN plan, the draws and the whole network."""

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
        """Kinds of the lines in the graphs."""
        return {curve.kind for graph in self.graphs for curve in graph.curves}


@dataclass(frozen=True, slots=True)
class View:
    """Data of the section of one audit."""

    rows: tuple[Row, ...]
    controls: tuple[ControlRow, ...]
    ratio: str
    """Sentence on the PANs beside random neurons; empty without a fair control."""
    caution: str
    is_single: bool
    """Whether there are fewer than two draws, too few for a comparison."""
    has_odds: bool
    comparisons: tuple[Comparison, ...]
    not_swappable: tuple[tuple[str, tuple[str, ...]], ...]
    """Sites whose padding could not be swapped, grouped by reason."""
    headings: tuple[str, ...] = HEADINGS
    most_lines: int = LINES
    size: tuple[int, int] = (graphs.GRAPH_WIDTH, graphs.GRAPH_HEIGHT)
    """Size of a graph's plot."""

    @property
    def has_pictures(self) -> bool:
        """Whether any sample has a picture."""
        return any(sample.picture for group in self.comparisons for sample in group.samples)


def _findings(audit: Audit) -> tuple[Influence, ...]:
    found = audit.findings.get("influence")
    return found.plans if isinstance(found, InfluenceFindings) else ()


def lines(audit: Audit) -> Iterator[str]:
    """Yield each measure with the PANs' padding swapped, and its values in the random draws."""
    found = _findings(audit)
    if not found:
        return
    draws = sum(influence.plan.seed is not None for influence in found)
    outputs = f"; outputs: {found[0].outputs}" if found[0].outputs else ""
    plan = found[0].plan.name
    yield f"with the padding of the PANs swapped ({plan}; random draws: {draws}{outputs}):"
    shown = [
        (measure, measured)
        for measure in MEASURES
        if (measured := audit.measures.get(measure.name)) and not measure.derived_from
    ]
    width = max((len(measure.name) for measure, _ in shown), default=0)
    for measure, measured in shown:
        control = measured.control
        others = ""
        if control is not None and control.draws:
            others = "  random neurons " + ", ".join(map(measure.text, control.draws))
        yield f"  {measure.name:<{width}} {measure.text(measured.value):>8}{others}"
    if ratio := audit.measures.get("log_odds_ratio"):
        yield f"  {ratio_text(ratio)}"


def ratio_text(ratio: Measured) -> str:
    """Return how many times as far as random neurons the PANs move the odds, and at least."""
    least = ""
    if ratio.interval:
        low, high = ratio.interval
        chance = " (1 is not excluded: it may be chance)" if low <= 1 <= high else ""
        least = f", at least {low:.2g}{chance}"
    return (
        "the PANs move the odds of classes "
        f"{ratio.value:.2g} times as far as random neurons of the same layers{least}"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def view(audit: Audit, page: Page) -> View | None:
    """Build the section with at most ``page.share`` characters of pictures; None without plans."""
    found = _findings(audit)
    if not found:
        return None
    controls = {
        measure.name: control
        for measure in MEASURES
        if measure.name in audit.measures
        and (control := audit.measures[measure.name].control) is not None
    }
    ratio = audit.measures.get("log_odds_ratio")
    plans = sum(kind(i) == "draw" for i in found)
    draws = min((len(control.draws) for control in controls.values()), default=plans)
    modes = dict.fromkeys(i.plan.mode for i in found)
    groups = [[i for i in found if i.plan.mode == mode] for mode in modes]
    pairs = dict.fromkeys((why, site) for i in found for site, why in i.not_swappable.items())
    reasons = dict.fromkeys(why for why, _ in pairs)
    return View(
        rows=tuple(_row(audit, influence) for influence in found),
        controls=tuple(_control_row(name, control) for name, control in controls.items()),
        ratio=_sentence(ratio_text(ratio)) if ratio else "",
        caution=caution(draws),
        is_single=draws < 2,
        has_odds=any(i.log_odds for i in found),
        comparisons=tuple(_comparison(audit, group, page.share // len(groups)) for group in groups),
        not_swappable=tuple((why, tuple(s for w, s in pairs if w == why)) for why in reasons),
    )


def kind(influence: Influence) -> Kind:
    """Return what a plan swaps: every channel (whole), random neurons (draw), or the PANs (pan)."""
    if influence.plan.channels is None:
        return "whole"
    return "draw" if influence.plan.name.startswith("RAND") else "pan"


def caution(draws: int) -> str:
    """Return a caution on the comparison to that many draws of random neurons."""
    if draws == 0:
        return (
            "No random neurons were swapped for comparison, so it is unknown whether other neurons "
            "would shift the predictions as much."
        )
    if draws == 1:
        return (
            "Only one draw of random neurons was made. A single draw cannot show whether the PANs "
            "shift the predictions more than other neurons would."
        )
    return (
        "Even if the PANs shifted the predictions no more than other neurons do, a measure would "
        f"have rank 1 of {draws + 1} in about one audit in {draws + 1}; with more draws this "
        "happens less often."
    )


def _row(audit: Audit, influence: Influence) -> Row:
    plan, ratios, mean = influence.plan, influence.log_odds, influence.mean_log_odds_shift
    known = [c for c in supported(audit, len(ratios)) if not math.isnan(ratios[c])]
    top = max(known, key=lambda c: abs(ratios[c]), default=None)
    unit = "pixels" if influence.by_distance else f"of {influence.images:,}"
    flips, top5 = influence.prediction_flips, influence.top5_flips
    right, wrong = influence.flips_to_right, influence.flips_to_wrong
    shares = (influence.accuracy_before, influence.accuracy)
    accuracy = [DASH if share is None else f"{100 * share:.2f} %" for share in shares]
    cells = (
        "all" if plan.size is None else f"{plan.size:,}",
        DASH if mean is None else number(mean),
        DASH if top is None else f"{signed(ratios[top])} {class_name(audit, top)}",
        f"{len(shifted(audit, influence)):,} of {len(known):,}" if ratios else DASH,
        DASH
        if influence.divergence is None or influence.divergence_99 is None
        else f"{number(influence.divergence)}, {number(influence.divergence_99)}",
        DASH if flips is None else f"{flips:,} {unit}",
        DASH if top5 is None else f"{top5:,} {unit}",
        number(influence.sample_influence) if influence.images else DASH,
        DASH if shares == (None, None) else " → ".join(accuracy),
        DASH if right is None and wrong is None else f"{_count(right)}, {_count(wrong)}",
    )
    return Row(plan.name, "" if plan.seed is None else f"seed {plan.seed}", cells)


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _control_row(name: str, control: Control) -> ControlRow:
    def text(value: float) -> str:
        return text_of(name, value).replace("-", MINUS)

    low, high, draws = control.low, control.high, len(control.draws)
    return ControlRow(
        measure=name,
        value=text(control.value),
        interval=DASH if low is None or high is None else f"{text(low)} to {text(high)}",
        mean=text(math.fsum(control.draws) / draws) if draws else DASH,
        excess=text(control.excess) if control.is_fair else DASH,
        rank=_rank(control),
    )


def _rank(control: Control) -> str:
    draws = len(control.draws)
    if draws and not control.is_fair:
        return f"none: {control.drawn} random neurons for {control.pans} PANs"
    if draws < 2:
        return "needs more draws" if draws else "no draws"
    return f"{control.rank} of {draws + 1}"


def _comparison(audit: Audit, group: Sequence[Influence], budget: int) -> Comparison:
    pan_plan = next((i for i in group if kind(i) == "pan"), None)
    draws = [i for i in group if kind(i) == "draw"]
    whole = [i for i in group if kind(i) == "whole"]
    samples = pan_plan.samples if pan_plan else ()
    shown, left_out = affected(audit, samples, budget)
    return Comparison(
        mode=group[0].plan.mode,
        name=pan_plan.plan.name if pan_plan else group[0].plan.name,
        graphs=tuple(_graphs([pan_plan] if pan_plan else [], draws, whole)),
        classes=classes(audit, pan_plan) if pan_plan and pan_plan.log_odds else (),
        classes_of_draws=", ".join(f"{len(shifted(audit, d)):,}" for d in draws),
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
    """Return the finite log-odds, which can be drawn."""
    return [value for value in influence.log_odds if math.isfinite(value)]


def _graphs(
    pan_plan: Sequence[Influence], draws: Sequence[Influence], whole: Sequence[Influence]
) -> list[Graph]:
    found = []
    ours, theirs = ([i for i in part if finite(i)] for part in (pan_plan, draws))
    if shown := [*theirs[:LINES], *ours]:
        title = "Log-odds of the classes in ascending order"
        lines = [(kind(i), finite(i)) for i in shown]
        found.append(graphs.ordered_graph(title, lines, _describe(shown)))
    if ours:
        title = "Classes by their log-odds"
        counts = [finite(i) for i in theirs]
        found.append(
            graphs.histogram_graph(title, finite(ours[0]), counts, _describe([*ours, *theirs]))
        )
    for influence in whole:
        if finite(influence):
            title = f"{influence.plan.name} in every channel, on its own scale"
            line = [("whole", finite(influence))]
            found.append(graphs.ordered_graph(title, line, _describe([influence])))
    rings = [i for i in [*draws[:LINES], *pan_plan, *whole] if i.by_distance]
    if rings:
        title = "Pixels whose class is unchanged, by distance to the border"
        shares = [(kind(i), i.by_distance) for i in rings]
        found.append(graphs.share_graph(title, shares, "The table below gives the numbers."))
    return found


def _describe(shown: Sequence[Influence]) -> str:
    """Describe the lines of a graph in words."""
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
    """Return the number of characters of the audit's thumbnails."""
    pans = (influence for influence in _findings(audit) if kind(influence) == "pan")
    return sum(len(sample.thumbnail) for influence in pans for sample in influence.samples)
