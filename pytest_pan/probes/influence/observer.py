"""Observer of the probe ``influence``: compares the plans to the original pass (PAN section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes import outputs
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.influence import figures
from pytest_pan.probes.influence.comparison import Compared, Comparison
from pytest_pan.probes.influence.measures import MEASURES
from pytest_pan.probes.influence.origins import Origins
from pytest_pan.probes.influence.own_padding import OwnPadding
from pytest_pan.probes.influence.records import Influence, InfluenceFindings
from pytest_pan.probes.observer import ORIGINAL, Context, Found, Observer, Part, Pass
from pytest_pan.probes.outputs import Reading
from pytest_pan.probes.scores import in_form
from pytest_pan.probes.swaps import plans
from pytest_pan.records.audit import Audit, Skip
from pytest_pan.records.errors import InputError
from pytest_pan.records.measures import LEAST_IMAGES, LEAST_UNITS, Measured
from pytest_pan.records.neurons import Neuron
from pytest_pan.records.text import plural

_LEAST = {measure.name: measure.least_images for measure in MEASURES}


class InfluenceObserver(Observer):
    """Stores the original outputs, then runs the plans once the PANs are known.

    The original pass runs again only if its results did not fit in memory.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own = OwnPadding(context.settings.mode, context.settings.memory // 4)
        self._plans: tuple[Pass, ...] = ()
        self._readings: dict[str, Reading] = {}
        self._comparison: Comparison | None = None
        self._origins: Origins | None = None

    def passes(self, known: Audit) -> Sequence[Pass]:
        if "pans" not in known.findings:
            return (ORIGINAL,)
        if self._comparison is not None:
            return ()
        return self._start(known)

    def _start(self, known: Audit) -> Sequence[Pass]:
        context, settings = self._context, self._context.settings
        chosen = plans(
            known.sites,
            known.neurons,
            mode=settings.mode,
            draws=settings.draws,
            seed=settings.seed,
        )
        self._plans = tuple(Pass(plan=plan) for plan in chosen)
        self._comparison = Comparison(
            [this.plan for this in self._plans if this.plan is not None],
            seed=settings.seed,
            support=settings.support,
            label_classes=context.label_classes,
        )
        self._origins = Origins(
            known.sites,
            known.neurons,
            settings.theta,
            lambda part, name: States(
                settings.memory // part,
                expected=context.expected,
                processes=context.processes,
                name=name,
            ),
            device=context.device,
            mode=settings.mode,
            units=context.units,
            seed=settings.seed,
        )
        seen, *others = context.processes.meet("class scores", context.original.scores)
        for other in others:
            seen.merge(other)
        context.original.scores = seen
        is_kept = self._own.is_complete and context.original.is_complete
        is_kept &= not context.activations.bounded
        if all(context.processes.meet("kept", is_kept)):
            self._origins.take_own(context.activations, self._own)
            self._own.drop()
            return self._plans
        self._own.drop()
        context.original.drop()
        return (*self._plans, ORIGINAL)

    def begin(self, part: Part) -> None:
        self._readings = {}
        if self._origins is None:
            self._own.begin(part.first)
        else:
            self._origins.begin(part.first)

    def see(self, this: Pass, call: ConvCall, *, is_swapped: bool) -> None:
        if self._origins is None:
            self._own.see(call)
        elif this == ORIGINAL:
            self._origins.see_original(call)
        elif this is self._plans[-1]:
            self._origins.see_every(call, is_swapped=is_swapped)

    def keep_padding(self, this: Pass, site: str, why: str) -> None:
        if self._comparison is not None and this.plan is not None:
            self._comparison.keep_padding(this.plan, site, why)

    def output(self, this: Pass, part: Part, output: object) -> None:
        if self._comparison is None:
            self._context.original.keep(part.first, len(part), output)
            return
        reading = outputs.read(output, self._context.settings.task, self._context.pick)
        if len(reading) != len(part):
            raise InputError(
                "the model does not return one output per image",
                got=f"{plural(len(reading), 'output')} for {plural(len(part), 'image')}",
                allowed="one output per image, in the same order",
                next="Override the fixture pan_outputs with a function that returns them.",
            )
        self._readings[this.name] = in_form(reading, self._context.original.scores.form)

    def end(self, part: Part) -> None:
        if self._comparison is None or self._origins is None:
            self._own.end(len(part))
            return
        before = self._readings.get(ORIGINAL.name)
        if before is None:
            before = self._context.original.take(part.first, len(part))
            before = in_form(before, self._context.original.scores.form)
        after = [self._readings[this.name] for this in self._plans]
        units = self._context.units.of(part.first, len(part))
        compared = Compared(before, after, part.images, part.labels, units)
        self._comparison.add(compared, part.first)
        self._origins.end()

    def end_batch(self, first: int, images: int) -> None:
        if self._origins is not None:
            self._origins.end_batch(first, images)

    def finish(self) -> None:
        if self._comparison is not None and self._origins is not None:
            self._origins.finish()
            self._comparison.share(self._context.processes)

    def findings(self, known: Audit) -> Found:
        comparison, origins = self._comparison, self._origins
        if comparison is None or origins is None:
            raise RuntimeError("findings before the passes")
        _check_any(comparison)
        found = comparison.findings()
        neurons = origins.with_origins(known.neurons)
        notes = figures.output_notes(found, comparison)
        classes = tuple(self._context.classes)
        if classes and found[0].log_odds and len(classes) != len(found[0].log_odds):
            notes.append(
                f"class names ignored: {plural(len(classes), 'name')} for "
                f"{plural(len(found[0].log_odds), 'class')}"
            )
            classes = ()
        resolved = [neuron for neuron in neurons if neuron.site in origins.resolved]
        if len(resolved) < len(neurons):
            count = len(neurons) - len(resolved)
            notes.append(
                f"the origin of {count} of {plural(len(neurons), 'PAN')} is unknown: the padding "
                "of their layers cannot be swapped"
            )
        measured = self._measured(found, resolved, neurons, classes)
        return Found(
            findings=InfluenceFindings(found),
            neurons=neurons,
            measures={m.measure: m for m in measured},
            classes=classes,
            notes=tuple(notes),
            skips=tuple(
                Skip(what=what, why=why, best_outcome="inconclusive", probe="influence")
                for what, why in comparison.skips.items()
            ),
        )

    def _measured(
        self,
        found: Sequence[Influence],
        resolved: Sequence[Neuron],
        neurons: Sequence[Neuron],
        classes: Sequence[str],
    ) -> list[Measured]:
        comparison, origins = self._comparison, self._origins
        if comparison is None or origins is None:
            return []
        measured = []
        if resolved or not neurons:
            measured = figures.origin_measures(resolved, origins)
        if not _swaps_nothing(found[0]) and comparison.has_outputs:
            measured = [*figures.output_measures(found, comparison, classes), *measured]
        return [self._with_certain_intervals(each, comparison) for each in measured]

    @staticmethod
    def _with_certain_intervals(measured: Measured, comparison: Comparison) -> Measured:
        """Leave out the intervals that promise too much on so few images."""
        if comparison.images < LEAST_IMAGES or comparison.independent < LEAST_UNITS:
            return replace(measured, interval=None, intervals={})
        if comparison.images < _LEAST[measured.measure]:
            return replace(measured, interval=None)
        return measured


def _swaps_nothing(pan: Influence) -> bool:
    """Return whether there are PANs but none could be swapped, which would look like no effect."""
    channels = pan.plan.channels or {}
    return bool(pan.plan.size) and set(channels) <= set(pan.not_swappable)


def _check_any(comparison: Comparison) -> None:
    if not comparison.images:
        where, why = next(iter(comparison.skips.items()), ("", ""))
        raise InputError(
            "no image has finite outputs under every plan",
            got=f"{plural(len(comparison.skips), 'image')} with non-finite outputs, first {where}: "
            f"{why}",
            next="Check that the images are normalised as in training.",
        )
