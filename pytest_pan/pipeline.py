"""The audit on one page: inputs, gate, probes, record. Read this first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from pytest_pan import environment
from pytest_pan.checks import check
from pytest_pan.distributed import ALONE, Processes
from pytest_pan.errors import ConfigError, InputError
from pytest_pan.folders import Transform
from pytest_pan.inputs import Images
from pytest_pan.instrument.gate import borrowed, on_device
from pytest_pan.instrument.halves import Halves
from pytest_pan.models import load_model, model_facts, name_of
from pytest_pan.notes import cut, notes, warn
from pytest_pan.probes import effects, pans
from pytest_pan.probes.influence import Batch
from pytest_pan.probes.intrusion import IntrusionProbe, measured
from pytest_pan.probes.outputs import Pick
from pytest_pan.probes.states import States, settle
from pytest_pan.records import Audit, Precision, Settings, Skip
from pytest_pan.stops import nothing, stopped

Tick = Callable[[int, int | None], None]


def audit(
    model: object,
    images: object,
    *,
    probes: tuple[str, ...] = ("pans",),
    theta: float = 0.5,
    device: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    bad_images: Literal["fail", "skip"] = "fail",
    memory: int = 4 << 30,
    mode: str = "reflect",
    draws: int = 3,
    task: str = "auto",
    precision: Precision = "float32",
    workers: int | None = None,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    outputs: Pick | None = None,
    classes: object = None,
) -> Audit:
    """Finds the padding aware neurons of a model on images; the model stays as it is.

    ``model``: an ``nn.Module``, or ``"module:callable"`` called with ``arguments``. ``images``: a
    float tensor (N, C, H, W), a Dataset, a DataLoader (its own batch size counts), or a folder of
    image files, put through ``transform``. ``theta``: threshold of the KS statistics. ``memory``:
    bytes that whole activation maps may take; beyond, they are counted between edges, and figures
    carry error bounds. ``seed``: for random transforms and draws. ``precision``: ``"float32"``
    (TF32 off), ``"tf32"``, or ``"bfloat16"`` and ``"float16"`` by autocast; an autocast around the
    audit does not count. ``workers``: processes that load a folder or a Dataset; None is none,
    except for files on their way to a GPU by the transform that we bring.

    ``probes``: ``"pans"``, with ``"influence"`` to see as well what swapping their padding for
    ``mode`` does to the outputs, beside ``draws`` draws of random neurons, and with
    ``"intrusion"`` what lines of zeros inside the images do. ``task`` tells what the outputs are
    where their shape does not (multilabel, embedding), ``outputs`` is a function that picks them
    from what the model returns, ``classes`` names them: a sequence, or torchvision weights.

    Raises :class:`ConfigError` for a wrong setting and :class:`InputError` for a wrong model or
    images, both before the first forward pass, and :class:`AuditError`, whose ``audit`` holds
    what had finished, when it stops half-way. Warns (:class:`PanWarning`) what weakens the figures.
    """
    settings = Settings(
        probes=tuple(probes),
        theta=theta,
        device=device,
        batch_size=batch_size,
        seed=seed,
        bad_images=bad_images,
        memory=memory,
        mode=mode,
        draws=draws,
        task=task,
        precision=precision,
        workers=workers,
    )
    result = run(
        model,
        images,
        settings=settings,
        transform=transform,
        arguments=arguments,
        name=name,
        outputs=outputs,
        classes=classes,
    )
    warn(result, stacklevel=3)
    return result


def run(
    model: object,
    images: object,
    *,
    settings: Settings,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    outputs: Pick | None = None,
    classes: object = None,
    tick: Tick = lambda done, expected: None,
    abandoned: Callable[[Audit], None] = lambda audit: None,
    processes: Processes = ALONE,
) -> Audit:
    """:func:`audit` with settings as a record and progress told to ``tick``; it never warns.

    ``abandoned`` gets what had finished when the audit is interrupted (Ctrl-C, a timeout).
    ``processes`` share the images, and all of them return the whole audit.
    """
    try:
        return _run(
            model,
            images,
            settings=settings,
            transform=transform,
            arguments=arguments,
            name=name,
            outputs=outputs,
            classes=classes,
            tick=tick,
            abandoned=abandoned,
            processes=processes,
        )
    except BaseException as error:
        processes.tell(error)
        raise


def _run(
    model: object,
    images: object,
    *,
    settings: Settings,
    transform: Transform | None,
    arguments: Mapping[str, Any] | None,
    name: str,
    outputs: Pick | None,
    classes: object,
    tick: Tick,
    abandoned: Callable[[Audit], None],
    processes: Processes,
) -> Audit:
    check(settings)
    device = environment.resolve_device(settings.device)
    environment.check_precision(settings.precision, device)
    loaded = load_model(model, arguments)
    whole = partial(
        Images,
        images,
        transform=transform,
        batch_size=settings.batch_size,
        bad_images=settings.bad_images,
        seed=settings.seed,
        workers=settings.workers,
        device=device,
    )
    source = whole(shard=(processes.rank, processes.count))
    facts = model_facts(loaded, name_of(model, loaded, name))
    processes.agree({"model": facts["digest"], "settings": settings.to_json()})
    job = _Job(on_device(loaded, device), source, settings, device, tick, abandoned, processes)
    result = job.detect(facts)
    if "influence" in settings.probes:
        result = job.influence(result, outputs, class_names(classes, source))
    if "intrusion" in settings.probes:
        if processes.count > 1:  # its figures are not put together: each sees all images
            job.source, waited = whole(), source.waited
            job.source.waited = waited
        result = job.intrusion(result, outputs)
    return replace(result, notes=(*result.notes, *cut(job.halves.size)))


@dataclass
class _Job:
    """One audit's stages; each takes the record so far and gives it back with more in it."""

    model: nn.Module
    source: Images
    settings: Settings
    device: torch.device
    tick: Tick
    abandoned: Callable[[Audit], None]
    processes: Processes = ALONE
    halves: Halves = field(default_factory=Halves)
    expected: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.expected = self.source.expected

    def _batches(self) -> Iterator[tuple[int, Batch]]:
        """The number of each batch's first image; its images on the device, and labels."""
        for images, labels in self.source:
            yield self.source.first, (images.to(self.device, non_blocking=True), labels)

    def detect(self, model: dict[str, Any]) -> Audit:
        """Which neurons are padding aware: also of what ran before an error, marked partial."""
        states = States(self.settings.memory, expected=self.expected, processes=self.processes)
        started = self._now()
        failure: BaseException | None = None
        with self._borrowed() as ready:
            try:
                pans.gather(
                    ready,
                    ((first, images) for first, (images, _) in self._batches()),
                    states,
                    tick=lambda done: self.tick(done, self.expected),
                    halves=self.halves,
                )
                settle(states)
                states.finish()
                self.source.share(self.processes)
            except BaseException as error:
                failure = error
                states.alone()
            held = environment.facts(self.device)
            forward = self._now()
            load = self.source.waited
            try:
                found = pans.findings(ready, states, self.settings, whole=failure is None)
            except BaseException as error:
                failure, found = failure or error, pans.nothing()
        facts = self.source.facts()
        result = Audit(
            model=model,
            images=facts,
            environment=held,
            settings=self._resolved(),
            sites=found.sites,
            neurons=found.neurons,
            measures=found.measures,
            convergence=found.stability.convergence,
            skips=(*found.skips, *self.source.skips),
            notes=notes(found, states, facts["count"]),
            seconds={
                "load": load,
                "forward": forward - started - load,
                "statistics": self._now() - forward,
            },
        )
        if failure is not None:
            self._give_up(failure, result)
        if not found.sites:
            raise stopped(nothing(found.skips), result)
        return result

    def influence(self, result: Audit, pick: Pick | None, classes: Sequence[str]) -> Audit:
        """What swapping the padding does to the outputs, in a second pass over the images."""
        started = self._now()
        with self._or_partial(result), self._borrowed() as ready:
            found = effects.examine(
                ready,
                self._batches(),
                result.sites,
                result.neurons,
                settings=self.settings,
                device=self.device,
                classes=classes,
                label_classes=len(self.source.class_names),
                pick=pick,
                tick=lambda done: self.tick(done, self.expected),
                expected=self.expected,
                processes=self.processes,
                halves=self.halves,
            )
            self.source.share(self.processes)
            self._same_images(result)
        return replace(
            result,
            neurons=found.neurons,
            measures={**result.measures, **found.measures},
            influence=found.influence,
            classes=found.classes,
            notes=(*result.notes, *found.notes),
            skips=(*result.skips, *found.skips),
            seconds=self._seconds(result, "comparisons", started),
        )

    def intrusion(self, result: Audit, pick: Pick | None) -> Audit:
        """What a line of zeros inside the images does, in a pass of its own."""
        started = self._now()
        probe = IntrusionProbe(
            result.sites,
            result.neurons,
            theta=self.settings.theta,
            seed=self.settings.seed,
            device=self.device,
            task=self.settings.task,
            pick=pick,
            memory=self.settings.memory,
        )
        with self._or_partial(result), self._borrowed() as ready:
            for _, (batch, _) in self._batches():
                self.halves.run(len(batch), partial(_add, probe, ready, batch))
                self.tick(probe.images, self.expected)
            self._same_images(result)
            found = probe.findings()
            flips = measured(found, probe.interval())
        skips = {**probe.skips, **{f"intrusion, {k}": v for k, v in probe.left_out.items()}}
        return replace(
            result,
            intrusion=found,
            notes=(*result.notes, *probe.notes),
            measures={**result.measures, **{m.measure: m for m in flips}},
            skips=(*result.skips, *(Skip(what=what, why=why) for what, why in skips.items())),
            seconds=self._seconds(result, "intrusion", started),
        )

    def _now(self) -> float:
        """Seconds on a clock, with what a GPU was asked for done."""
        if self.device.type == "cuda":
            with suppress(RuntimeError):  # of a pass that failed, and has said so itself
                torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _seconds(self, result: Audit, stage: str, started: float) -> dict[str, float]:
        """The time by stage so far: of this one, what was not spent waiting for images."""
        load, took = self.source.waited, self._now() - started
        return {**result.seconds, "load": load, stage: took - (load - result.seconds["load"])}

    def _resolved(self) -> Settings:
        return replace(self.settings, device=str(self.device), workers=self.source.workers)

    def _borrowed(self) -> AbstractContextManager[nn.Module]:
        chosen = self.settings
        return borrowed(
            self.model, seed=chosen.seed, precision=chosen.precision, device=self.device
        )

    def _same_images(self, result: Audit) -> None:
        if self.source.facts()["digest"] != result.images["digest"]:
            raise InputError(
                "the images were others the second time",
                where="images",
                next="Draw what is random in them from torch's, numpy's or Python's global "
                "generator, which are seeded for each pass.",
            )

    @contextmanager
    def _or_partial(self, result: Audit) -> Iterator[None]:
        """What is raised inside leaves with what there is already."""
        try:
            yield
        except BaseException as error:
            self._give_up(error, result)

    def _give_up(self, error: BaseException, result: Audit) -> NoReturn:
        self.source.close()
        if isinstance(error, Exception):
            raise stopped(error, result) from error
        self.abandoned(replace(result, partial=f"interrupted ({type(error).__name__})"))
        raise error


def _add(probe: IntrusionProbe, model: nn.Module, batch: Tensor, part: range) -> None:
    probe.add(model, batch[part.start : part.stop])


def class_names(given: object, source: Images) -> tuple[str, ...]:
    """Names from a sequence, from torchvision weights (their metadata), or from the images'
    class folders; none where nothing tells.
    """
    if given is None:
        return source.class_names
    meta = getattr(given, "meta", None)
    names: Any = meta.get("categories", ()) if isinstance(meta, Mapping) else given
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError(
            "classes", got=type(given).__name__, allowed="a sequence of names, or weights"
        )
    return tuple(str(name) for name in names)
