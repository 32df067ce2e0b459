"""How surely a figure lies on one side of a limit: pass, fail or inconclusive.

A figure is known as an interval over images, as bounds where values were counted between edges, or
as itself alone. The limit is held against all of that: only what lies wholly on one side of it is
decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.limits import Limit, Outcome
from pytest_pan.records.measures import LEAST_IMAGES, Interval, Measured

MOST = 100
"""So many times as many images are not worth a number."""


@dataclass(frozen=True, slots=True)
class Certainty:
    """An outcome, and what it rests on."""

    outcome: Outcome
    interval: Interval | None = None
    more_images: int | None = None
    basis: str = ""


def weigh(
    audit: Audit, limit: Limit, value: float, *, alone: str = "", apart: float = 0.0
) -> Certainty:
    """Holds a limit against all that is known of a figure; ``value`` is not NaN.

    ``alone``: why against the figure alone; empty where it is not. ``apart``: half the interval of
    the bound itself, from other images.
    """
    measured = audit.measures[limit.measure]
    images = int(audit.images.get("count", 0))
    measure = table.find(limit.measure)
    text = measure.text
    if not measure.is_sampled:
        return Certainty(_side(limit, [value]))
    bounds = bounds_of(measured, limit)
    if bounds is not None and _side(limit, [value, *bounds]) == "inconclusive":
        return Certainty(
            "inconclusive",
            basis="values were counted between edges: it is from "
            f"{text(bounds[0])} to {text(bounds[1])}, which does not tell on which side of the "
            "limit; more memory makes it exact",
        )
    if alone:
        return Certainty(_side(limit, [value]), basis=alone)
    interval = interval_of(measured, limit)
    if interval is None:
        return Certainty(_side(limit, [value]), basis=_no_interval(images))
    said = f"95 % interval {text(interval[0])} to {text(interval[1])}"
    if images < measure.settled_at and not limit.target:
        said += f" (too narrow as a rule: fewer than {measure.settled_at} images)"
    if apart:  # of the difference of two figures of their own images
        middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
        both = math.hypot(half, apart)
        said += f", the bound's plus or minus {text(apart)}"
        held = middle - both, middle + both
    else:
        held = interval
    outcome = _side(limit, [value, *held])
    if outcome != "inconclusive":
        return Certainty(outcome, interval, basis=said)
    if apart:
        basis = f"{said}: together they hold the difference; more images of both narrow it"
        return Certainty("inconclusive", interval, basis=basis)
    if measure.is_image_count:
        grows = f"{said} holds the limit; the number grows with that of the images, {images}"
        return Certainty("inconclusive", interval, basis=grows)
    more = more_images(value, interval, limit.bound, images)
    basis = f"{said} holds the limit; {_would(more)}"
    return Certainty("inconclusive", interval, more, basis)


def _side(limit: Limit, known: Iterable[float]) -> Outcome:
    within = {v <= limit.bound if limit.direction == "max" else v >= limit.bound for v in known}
    if len(within) == 2:
        return "inconclusive"
    return "pass" if within == {True} else "fail"


def interval_of(measured: Measured, limit: Limit) -> Interval | None:
    """The interval of what a limit is about: the model, a class, or the worst of some layers."""
    if limit.target:
        return measured.intervals.get(limit.target)
    if not limit.layer:
        return measured.interval
    return _of_worst(measured.intervals, measured, limit)


def bounds_of(measured: Measured, limit: Limit) -> Interval | None:
    """The same of the bounds that counting between edges leaves; a class's odds have none."""
    if limit.target:
        return None
    return _of_worst(measured.site_bounds, measured, limit) if limit.layer else measured.bounds


def _of_worst(by_site: Mapping[str, Interval], measured: Measured, limit: Limit) -> Interval | None:
    """The largest of several figures lies between the largest of the lower ends and the largest of
    the upper ones, if each lies between its own; so does the smallest.
    """
    ends = [by_site.get(name) for name in measured.sites if limit.binds(name)]
    known = [pair for pair in ends if pair is not None]
    if not known or len(known) < len(ends):
        return None
    worst = max if limit.direction == "max" else min
    return worst(low for low, _ in known), worst(high for _, high in known)


def more_images(value: float, interval: Interval, bound: float, images: int) -> int | None:
    """About how many more images would let the figure and its interval clear a limit.

    The interval's half-width is taken to shrink as one over the square root of the number of
    images, about the interval's middle, and the figure's distance from there as one over their
    number. None where that takes more than ``MOST`` times as many, as where the limit lies in the
    very middle. Rounded up to two digits.
    """
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    away = bound - middle
    if not away:
        return None
    times = (half / away) ** 2
    if (value - middle) * away > 0:
        times = max(times, (value - middle) / away)
    if times > MOST:
        return None
    more = max(1, math.ceil(round((times - 1) * images, 6)))
    step = int(10 ** max(0, len(str(more)) - 2))
    return -(-more // step) * step


def _would(more: int | None) -> str:
    if more is None:
        return f"not even {MOST} times as many images would decide"
    return f"about {more:,} more images would decide"


def _no_interval(images: int) -> str:
    few = f": {images} images, {LEAST_IMAGES} are needed" if images < LEAST_IMAGES else ""
    return f"no interval{few}; the figure alone was held against the limit"
