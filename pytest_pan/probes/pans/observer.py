"""Gathers what convolutions give in the original pass, and finds the PANs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_pan.instrument.sites import why_not
from pytest_pan.instrument.tap import ConvCall, unseen_convolutions
from pytest_pan.probes.activations.states import settle
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.pans import portraits, subsampling
from pytest_pan.probes.pans.detection import Detected, detect, measures
from pytest_pan.probes.pans.records import PansFindings
from pytest_pan.probes.pans.subsampling import Stability
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Outcome

ERROR_AIM = 1 / 512
"""Error bound of counted statistics where the first images are like the rest."""


class PansObserver(Observer):
    """Fills the context's activations and takes statistics of them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._states = context.activations
        self._is_gathered = False
        self._added: dict[str, list[range]] = {}
        """By site, the images of this batch that were added."""
        self._part: Part | None = None

    def passes(self, known: Audit) -> Sequence[Pass]:
        return () if self._is_gathered else (ORIGINAL,)

    def begin(self, part: Part) -> None:
        if self._part is None or self._part.batch != part.batch:
            self._added.clear()
        self._part = part

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        part = self._part
        if part is None:
            return
        if reason := why_not(call.kernel, call.pad, call.map):
            self._states.skips[call.name] = reason
        elif not self._is_added(call.name, part.first):
            self._states.add(call.site(), call.output, part.batch)
            images = range(part.first, part.first + len(part))
            self._added.setdefault(call.name, []).append(images)

    def _is_added(self, site: str, first: int) -> bool:
        """Whether these images were added before the device ran out of memory in a later layer."""
        return any(first in images for images in self._added.get(site, ()))

    def pass_over(self, this: Pass, name: str, why: str) -> None:
        self._states.skips[name] = why

    def end_batch(self, first: int, images: int) -> None:
        self._states.end_batch(images)

    def finish(self) -> None:
        settle(self._states)
        self._states.finish()
        self._is_gathered = True

    def findings(self, known: Audit) -> Found:
        return self._found(is_whole=True)

    def interrupted(self) -> Found | None:
        """Return the PANs among the images so far; without subsamples, which take their time."""
        if not self._is_gathered:
            self._states.alone()
        try:
            return self._found(is_whole=False)
        except Exception:  # a broken state must not hide what broke the audit
            return Found(findings=PansFindings(), measures=measures(Detected(), Stability()))

    def _found(self, *, is_whole: bool) -> Found:
        states, settings = self._states, self._context.settings
        detected = detect(states, settings)
        skips = states.skips | detected.skips
        seen = {*states.by_site, *states.skips}
        skips |= dict(unseen_convolutions(self._context.model, seen))
        again = Stability(why_not="the audit stopped early")
        if is_whole:
            near = detected.near
            again = subsampling.examine(states, near, theta=settings.theta, seed=settings.seed)
        neurons = tuple(
            replace(neuron, stability=again.shares.get(neuron.site, {}).get(neuron.channel))
            for neuron in portraits.portrayed(detected.neurons, states.by_site)
        )
        return Found(
            findings=PansFindings(again.convergence),
            measures=measures(detected, again),
            notes=tuple(self._notes(detected, again)),
            skips=tuple(
                Skip(what=name, why=why, best_outcome=self._best_outcome(name, detected))
                for name, why in skips.items()
            ),
            sites=tuple(detected.sites),
            neurons=neurons,
        )

    def _best_outcome(self, name: str, detected: Detected) -> Outcome:
        """The best that a limit can come to where a layer was not examined."""
        if name in detected.skips:
            return "fail"  # as where nothing could be measured at all
        return "inconclusive" if name in self._states.changing else "pass"

    def _notes(self, detected: Detected, again: Stability) -> list[str]:
        states = self._states
        notes = []
        seldom = [state for state in states.examined() if state.images < states.images]
        if seldom:
            least = min(seldom, key=lambda state: state.images)
            notes.append(
                f"{len(seldom)} layers did not run on every image, {least.site.name} on "
                f"{least.images} of {states.images}"
            )
        if states.bounded:
            notes.append(_note_on_bounds(detected))
        if again.why_not:
            notes.append(f"no convergence, stability and intervals of the PANs: {again.why_not}")
        if len(detected.neurons) > portraits.PORTRAITS:
            notes.append(
                f"distance profiles and histograms are those of the {portraits.PORTRAITS} "
                f"strongest of {len(detected.neurons)} PANs"
            )
        small = [site for site in detected.sites if site.reliability == "low"]
        if small:
            share = sum(s.channels for s in small) / sum(s.channels for s in detected.sites)
            notes.append(
                f"{len(small)} layers with {100 * share:.2f} % of the neurons have maps up to "
                "7x7, where the method weakens"
            )
        return notes


def _note_on_bounds(detected: Detected) -> str:
    low = sum(span.low for span in detected.pans.values())
    high = sum(span.high for span in detected.pans.values())
    undecided = sum(bool(neuron.undecided) for neuron in detected.neurons)
    note = (
        "the activations of so many images do not fit in memory: values were counted between "
        f"fixed edges, statistics are within {detected.error:.5f}, the number of PANs is from "
        f"{low:g} to {high:g}, {undecided} of those listed are within the error of the threshold"
    )
    if detected.error > ERROR_AIM:
        note += (
            f"; that is more than the {ERROR_AIM:.5f} aimed at: the first images are not like the "
            "rest, shuffle them or raise pan_memory"
        )
    return note
