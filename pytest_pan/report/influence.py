"""The report's section on what the padding does to the predictions, as data for its template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_pan.measures import BY_NAME
from pytest_pan.plans import SHIFTED, Control, Influence
from pytest_pan.records import Audit
from pytest_pan.report import graphs
from pytest_pan.report.affected import Affected, affected, class_name
from pytest_pan.report.charts import number
from pytest_pan.report.graphs import Graph

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

ROWS = 30
"""Classes that a side of that table shows."""

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
class ClassRow:
    """A class whose odds change beyond the threshold."""

    name: str
    odds: str
    interval: str


@dataclass(frozen=True, slots=True)
class Classes:
    """One side of Table 3; ``left_out`` classes are beyond the threshold and not shown."""

    caption: str
    rows: tuple[ClassRow, ...]
    left_out: int


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


def view(audit: Audit, room: int) -> View | None:
    """The section, its pictures within ``room`` characters; None where no plan was run."""
    found = audit.influence
    if not found:
        return None
    controls = {n: m.control for n, m in audit.measures.items() if m.control is not None}
    names = sorted(controls, key=lambda name: [*BY_NAME, name].index(name))
    plans = sum(kind(i) == "draw" for i in found)
    draws = min((len(control.draws) for control in controls.values()), default=plans)
    modes = dict.fromkeys(i.plan.mode for i in found)
    groups = [[i for i in found if i.plan.mode == mode] for mode in modes]
    kept = dict.fromkeys((why, site) for i in found for site, why in i.not_swappable.items())
    reasons = dict.fromkeys(why for why, _ in kept)
    return View(
        rows=tuple(_row(audit, influence) for influence in found),
        held=tuple(_held(name, controls[name]) for name in names),
        caution=caution(draws),
        is_single=draws < 2,
        has_odds=any(i.log_odds for i in found),
        comparisons=tuple(_comparison(audit, group, room // len(groups)) for group in groups),
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


def measure_text(name: str, value: float) -> str:
    """The value in its measure's own words; a plain number for a measure that is not declared."""
    return BY_NAME[name].text(value) if name in BY_NAME else f"{value:g}"


def signed(value: float) -> str:
    """Log-odds to three decimals, with their sign."""
    return f"{value:+.3f}".replace("-", MINUS) if math.isfinite(value) else _endless(value)


def odds(log_odds: float) -> str:
    """The odds that belong to log-odds."""
    if not math.isfinite(log_odds):
        return "0" if log_odds < 0 else _endless(log_odds)
    return f"{math.exp(log_odds):.3f}" if log_odds < 9 else f"{math.exp(min(log_odds, 700)):.3g}"


def _endless(value: float) -> str:
    return "undefined" if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"


def beyond(log_odds: Sequence[float]) -> list[int]:
    """Numbers of the classes whose odds, or the inverse of them, exceed the threshold."""
    return [c for c, value in enumerate(log_odds) if abs(value) > SHIFTED]


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
        return measure_text(name, value).replace("-", MINUS)

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
        classes=_classes(audit, of_pans) if of_pans and of_pans.log_odds else (),
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


def _classes(audit: Audit, influence: Influence) -> tuple[Classes, ...]:
    ratios = influence.log_odds
    found = sorted(beyond(ratios), key=lambda c: ratios[c])
    sides = (
        (
            "Odds below 1: the padding is evidence for the class",
            [c for c in found if ratios[c] < 0],
        ),
        (
            "Odds above 1: the padding is evidence against the class",
            [c for c in reversed(found) if ratios[c] > 0],
        ),
    )
    return tuple(
        Classes(
            caption=caption,
            rows=tuple(_class_row(audit, influence, c) for c in side[:ROWS]),
            left_out=max(len(side) - ROWS, 0),
        )
        for caption, side in sides
    )


def _class_row(audit: Audit, influence: Influence, index: int) -> ClassRow:
    ends = [e[index] for e in (influence.log_odds_low, influence.log_odds_high) if len(e) > index]
    interval = f"{odds(ends[0])} to {odds(ends[1])}" if len(ends) == 2 else DASH
    return ClassRow(class_name(audit, index), odds(influence.log_odds[index]), interval)


def wanted(audit: Audit) -> int:
    """Characters that the pictures of an audit's samples have."""
    return sum(len(s.thumbnail) for i in audit.influence if kind(i) == "pan" for s in i.samples)
