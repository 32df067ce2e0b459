"""Observer of the probe ``pans``: collects the original activations and detects PANs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_pan.instrument.sites import leaves_figures_incomplete, why_not
from pytest_pan.instrument.tap import ConvCall, unseen_convolutions
from pytest_pan.probes.activations.dependence import Dependence
from pytest_pan.probes.activations.states import settle
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.pans import portraits, subsampling
from pytest_pan.probes.pans.detection import Detected, detect, measures
from pytest_pan.probes.pans.records import PansFindings
from pytest_pan.probes.pans.subsampling import Stability
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.limits import Outcome
from pytest_pan.records.text import plural

ERROR_AIM = 1 / 512
"""Error bound of counted statistics if the first images are representative."""


class PansObserver(Observer):
    """Fills the context's activations and detects the PANs in them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._states = context.activations
        self._is_gathered = False
        self._added: dict[str, list[range]] = {}
        """Image ranges of the current batch that were already added, by site."""
        self._part: Part | None = None
        self._dependence = Dependence()

    def passes(self, known: Audit) -> Sequence[Pass]:
        return () if self._is_gathered else (ORIGINAL,)

    def begin(self, part: Part) -> None:
        if self._part is None or self._part.batch != part.batch:
            self._added.clear()
        self._part = part
        self._dependence.see_images(part.images)

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        part = self._part
        if part is None:
            return
        if reason := why_not(call.kernel, call.pad, call.map):
            self._states.skips[call.name] = reason
        elif not self._is_added(call.name, part.first):
            self._states.add(call.site(), call.maps, part.batch)
            self._dependence.add(call.name, call.maps, len(part))
            images = range(part.first, part.first + len(part))
            self._added.setdefault(call.name, []).append(images)

    def _is_added(self, site: str, first: int) -> bool:
        """Whether the images were added before the device ran out of memory in a later layer."""
        return any(first in images for images in self._added.get(site, ()))

    def pass_over(self, this: Pass, name: str, why: str) -> None:
        self._states.skips[name] = why

    def end_batch(self, first: int, images: int) -> None:
        self._states.end_batch(images)

    def finish(self) -> None:
        settle(self._states)
        self._states.finish()
        reasons = self._dependence.reasons(self._context.processes)
        self._states.skips = reasons | self._states.skips
        self._is_gathered = True

    def findings(self, known: Audit) -> Found:
        return self._found(is_whole=True)

    def interrupted(self) -> Found | None:
        """Return the PANs of the images so far, without subsamples, which would take long."""
        if not self._is_gathered:
            self._states.disconnect()
        try:
            return self._found(is_whole=False)
        except Exception:  # an error here must not hide the one that stopped the audit
            return Found(findings=PansFindings(), measures=measures(Detected(), Stability()))

    def _found(self, *, is_whole: bool) -> Found:
        states, settings = self._states, self._context.settings
        detected = detect(states, settings)
        skips = states.skips | detected.skips
        seen = {*states.by_site, *states.skips}
        skips |= dict(unseen_convolutions(self._context.model, seen))
        stability = Stability(why_not="the audit stopped early")
        if is_whole:
            stability = subsampling.examine(
                states,
                detected.near,
                self._context.units.of(0, states.images),
                theta=settings.theta,
                seed=settings.seed,
            )
        neurons = tuple(
            replace(neuron, stability=stability.shares.get(neuron.site, {}).get(neuron.channel))
            for neuron in portraits.portrayed(detected.neurons, states.by_site)
        )
        return Found(
            findings=PansFindings(stability.convergence),
            measures=measures(detected, stability),
            notes=tuple(self._notes(detected, stability)),
            skips=tuple(
                Skip(what=name, why=why, best_outcome=self._best_outcome(name, why, detected))
                for name, why in skips.items()
            ),
            sites=tuple(detected.sites),
            neurons=neurons,
        )

    def _best_outcome(self, name: str, why: str, detected: Detected) -> Outcome:
        """Return the best outcome of a limit if this layer was not examined."""
        if name in detected.skips:
            return "fail"  # as if nothing could be measured
        is_incomplete = name in self._states.changing or leaves_figures_incomplete(why)
        return "inconclusive" if is_incomplete else "pass"

    def _notes(self, detected: Detected, stability: Stability) -> list[str]:
        states = self._states
        notes = []
        incomplete = [state for state in states.examined() if state.images < states.images]
        if incomplete:
            least = min(incomplete, key=lambda state: state.images)
            notes.append(
                f"layers that did not run on every image: {len(incomplete)}; {least.site.name} "
                f"ran on the fewest, {least.images} of {states.images}"
            )
        if states.bounded:
            notes.append(_bounds_note(detected))
        if stability.why_not:
            notes.append(f"no convergence, stability or intervals of the PANs: {stability.why_not}")
        if len(detected.neurons) > portraits.MAX_PORTRAITS:
            notes.append(
                f"distance profiles and histograms exist only for the {portraits.MAX_PORTRAITS} "
                f"strongest of {len(detected.neurons):,} PANs"
            )
        small = [site for site in detected.sites if site.reliability == "low"]
        if small:
            share = sum(s.channels for s in small) / sum(s.channels for s in detected.sites)
            notes.append(
                f"small maps: {plural(len(small), 'layer')} with {100 * share:.2f} % of the "
                f"neurons {'has' if len(small) == 1 else 'have'} "
                "maps of 7x7 or less, where the method is less reliable"
            )
        return notes


def _bounds_note(detected: Detected) -> str:
    low = sum(span.low for span in detected.pans.values())
    high = sum(span.high for span in detected.pans.values())
    undecided = sum(bool(neuron.undecided) for neuron in detected.neurons)
    note = (
        "the activations do not fit in memory, so values were counted between fixed edges: "
        f"statistics are exact to within {detected.error:.5f}, the number of PANs is between "
        f"{low:g} and {high:g}, and {undecided} of the listed PANs are undecided at the threshold"
    )
    if detected.error > ERROR_AIM:
        note += (
            f"; the error exceeds the target of {ERROR_AIM:.5f} because the first images are not "
            "representative of the rest: shuffle the images or raise pan_memory"
        )
    return note
