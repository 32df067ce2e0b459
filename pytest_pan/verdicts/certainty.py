"""Decide whether a value passes, fails or is inconclusive against a limit.

A value may have an interval over images, bounds from counting activations in bins, or neither. It
passes or fails only if the value and its whole interval lie on one side of the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.limits import Limit, Outcome
from pytest_pan.records.measures import (
    LEAST_IMAGES,
    LEAST_UNITS,
    Interval,
    Measure,
    Measured,
)
from pytest_pan.records.text import plural

MAX_FACTOR = 100
"""Largest multiple of the number of images for which an estimate is given."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome and what it is based on."""

    outcome: Outcome
    interval: Interval | None = None
    more_images: int | None = None
    basis: str = ""


def decide(
    audit: Audit, limit: Limit, value: float, *, value_only: str = "", bound_error: float = 0.0
) -> Decision:
    """Check a value, which is not NaN, and its uncertainty against a limit.

    ``value_only``: why intervals do not matter and only the value is compared; empty if they do.
    ``bound_error``: half-width of the bound's own 95 % interval, for a bound from other images.
    """
    measured = audit.measures[limit.measure]
    measure = table.find(limit.measure)
    if not measure.is_sampled:
        return Decision(_side(limit, [value]))
    bounds = bounds_of(measured, limit)
    if bounds is not None and _side(limit, [value, *bounds]) == "inconclusive":
        return Decision(
            "inconclusive",
            basis="activations were counted in bins, so the value is between "
            f"{measure.text(bounds[0])} and {measure.text(bounds[1])}, on both sides of the limit; "
            "a larger pan_memory makes it exact",
        )
    if value_only:
        return Decision(_side(limit, [value]), basis=value_only)
    interval = interval_of(measured, limit)
    if interval is None:
        return _decide_without_interval(audit, limit, value)
    return _decide_by_interval(audit, limit, value, interval, bound_error)


def _decide_without_interval(audit: Audit, limit: Limit, value: float) -> Decision:
    """Compare the value alone, unless it is known to say too little."""
    measure, images = table.find(limit.measure), int(audit.images.get("count", 0))
    groups = audit.images.get("groups")
    if measure.no_interval:
        return Decision("inconclusive", basis=f"no interval: {measure.no_interval}")
    if measure.least_images > LEAST_IMAGES and not limit.target:
        given = plural(images, "image") + ("" if groups is None else f" in {groups} groups")
        return Decision(
            "inconclusive",
            more_images=max(measure.least_images - images, 0) or None,
            basis=f"no interval: {given}, at least {measure.least_images} are needed for one that "
            "holds",
        )
    if images >= LEAST_IMAGES and groups is not None and groups < LEAST_UNITS:
        basis = f"no interval: {plural(groups, 'group')} of images, at least {LEAST_UNITS} needed"
        return Decision("inconclusive", basis=basis)
    return Decision(_side(limit, [value]), basis=_no_interval(images))


def _decide_by_interval(
    audit: Audit, limit: Limit, value: float, interval: Interval, bound_error: float
) -> Decision:
    measure, images = table.find(limit.measure), int(audit.images.get("count", 0))
    text = _interval_text(measure, interval)
    widened = interval
    if bound_error:
        middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
        combined = math.hypot(half, bound_error)  # of the difference of two independent values
        text += f", bound uncertain by {measure.text(bound_error)}"
        widened = middle - combined, middle + combined
    outcome = _side(limit, [value, *widened])
    if outcome != "inconclusive":
        return Decision(outcome, interval, basis=text)
    if bound_error:
        basis = f"{text}: together too uncertain to decide; more images in both runs would help"
        return Decision("inconclusive", interval, basis=basis)
    text += " contains the limit"
    if measure.is_image_count:
        basis = f"{text}; this count grows with the number of images ({images})"
        return Decision("inconclusive", interval, basis=basis)
    more = more_images(value, interval, limit.bound, images)
    return Decision("inconclusive", interval, more, f"{text}; {_more_images_text(more)}")


def _interval_text(measure: Measure, interval: Interval) -> str:
    text = f"95 % interval {measure.text(interval[0])} to {measure.text(interval[1])}"
    if interval[0] == interval[1]:
        text += " (no width: all subsamples give the same value)"
    return text


def _side(limit: Limit, values: Iterable[float]) -> Outcome:
    within = {v <= limit.bound if limit.direction == "max" else v >= limit.bound for v in values}
    if len(within) == 2:
        return "inconclusive"
    return "pass" if within == {True} else "fail"


def interval_of(measured: Measured, limit: Limit) -> Interval | None:
    """Return the interval of the limited value: of the model, a class, or the worst of layers."""
    if limit.target:
        return measured.intervals.get(limit.target)
    if not limit.layer:
        return measured.interval
    return _of_worst(measured.intervals, measured, limit)


def bounds_of(measured: Measured, limit: Limit) -> Interval | None:
    """Return the limited value's bounds from counting in bins; None if exact or for a class."""
    if limit.target:
        return None
    return _of_worst(measured.site_bounds, measured, limit) if limit.layer else measured.bounds


def _of_worst(by_site: Mapping[str, Interval], measured: Measured, limit: Limit) -> Interval | None:
    """Return the interval of the largest (or smallest) value of the layers.

    If each value lies in its interval, the largest lies between the largest lower end and the
    largest upper end; likewise the smallest.
    """
    ends = [by_site.get(name) for name in measured.sites if limit.applies_to(name)]
    known = [pair for pair in ends if pair is not None]
    if not known or len(known) < len(ends):
        return None
    worst = max if limit.direction == "max" else min
    return worst(low for low, _ in known), worst(high for _, high in known)


def more_images(value: float, interval: Interval, bound: float, images: int) -> int | None:
    """Estimate how many more images would move the value and its interval clear of a bound.

    Assumes that the half-width shrinks with the square root of the number of images, about the
    interval's middle, and the value's distance from the middle with their number. Returns None if
    that takes more than ``MAX_FACTOR`` times the images. Rounds up to two digits.
    """
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    away = bound - middle
    if not away:
        return None
    ratio = half / away
    factor = ratio * ratio  # unlike ** 2, it does not raise where it overflows
    if (value - middle) * away > 0:
        factor = max(factor, (value - middle) / away)
    if factor > MAX_FACTOR:
        return None
    more = max(1, math.ceil(round((factor - 1) * images, 6)))
    step = int(10 ** max(0, len(str(more)) - 2))
    return -(-more // step) * step


def _more_images_text(more: int | None) -> str:
    if more is None:
        return f"not even {MAX_FACTOR} times as many images would decide it"
    return f"about {plural(more, 'more image')} would decide it"


def _no_interval(images: int) -> str:
    few = (
        f": {plural(images, 'image')}, at least {LEAST_IMAGES} needed"
        if images < LEAST_IMAGES
        else ""
    )
    return f"no interval{few}; only the value was compared with the limit"
