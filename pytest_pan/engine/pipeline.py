"""The audit on one page: inputs, rounds over the images, probes, record. Read this first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import Any, Literal, NoReturn

from pytest_pan.config.settings import check
from pytest_pan.engine.failures import not_prepared, nothing_examined, stopped
from pytest_pan.engine.notes import batches_cut, few_images, warn
from pytest_pan.engine.passes import Batch, Round, now
from pytest_pan.inputs.folders import Transform
from pytest_pan.inputs.images import Images
from pytest_pan.inputs.larger import LargeImages
from pytest_pan.inputs.models import class_names, load_model, model_facts, name_of
from pytest_pan.inputs.transforms import transform_of
from pytest_pan.instrument import devices
from pytest_pan.instrument.gate import borrowed, on_device
from pytest_pan.instrument.halves import Halves
from pytest_pan.instrument.processes import ALONE, Processes
from pytest_pan.probes import table
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.observer import Context, Found, Observer, Pass, Units
from pytest_pan.probes.original import OriginalOutputs
from pytest_pan.probes.outputs import Pick
from pytest_pan.records.audit import Audit, Precision, Settings, Skip
from pytest_pan.records.errors import InputError, PanError

Tick = Callable[[int, int | None], None]


def audit(
    model: object,
    images: object,
    *,
    probes: Sequence[str] = (),
    theta: float = 0.5,
    device: str = "auto",
    batch_size: int = 32,
    seed: int = 0,
    bad_images: Literal["fail", "skip"] = "fail",
    memory: int = 4 << 30,
    mode: str = "reflect",
    draws: int = 3,
    support: float = 1.0,
    task: str = "auto",
    precision: Precision = "float32",
    workers: int | None = None,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    outputs: Pick | None = None,
    classes: object = None,
    groups: object = None,
    large_images: object = None,
) -> Audit:
    """Find the padding aware neurons of a model on images; the model stays as it is.

    ``model``: an ``nn.Module``, or ``"module:callable"`` called with ``arguments``. ``images``: a
    float tensor (N, C, H, W), a Dataset, a DataLoader (its own batch size counts), or a folder of
    image files, put through ``transform``. ``theta``: threshold of the KS statistics. ``memory``:
    bytes that whole activation maps may take; beyond, they are counted between edges, and figures
    carry error bounds. ``seed``: for random transforms and draws. ``precision``: ``"float32"``
    (TF32 off), ``"tf32"``, or ``"bfloat16"`` and ``"float16"`` by autocast; an autocast around the
    audit does not count. ``workers``: processes that load a folder or a Dataset; None is none,
    except for a folder without ``transform`` that a GPU audits.

    ``probes``: further questions to answer, by the names in ``pytest_pan.probes.table``. Those that
    look at outputs swap padding for ``mode``, beside ``draws`` draws of random neurons. ``task``
    says what the outputs are where their shape does not (multilabel, embedding), ``outputs`` is a
    function that picks them from what the model returns, ``classes`` names them: a sequence, or
    torchvision weights.

    ``support``: summed probability from which on a class counts (docs/method.md). ``groups``: which
    images are not independent, such as crops of one photograph: a label per image, or a regular
    expression for file names; intervals then resample groups. ``large_images``: images larger
    than the network's input, normalised as it is, for the probes that need them: a tensor, a
    Dataset or a DataLoader.

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
        support=support,
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
        groups=groups,
        large_images=large_images,
    )
    warn(result, stacklevel=3)
    return result


def run(
    model: object,
    images: object,
    *,
    settings: Settings,
    tick: Tick = lambda done, expected: None,
    abandoned: Callable[[Audit], None] = lambda audit: None,
    processes: Processes = ALONE,
    **given: Any,
) -> Audit:
    """Run :func:`audit` with settings as a record, reporting progress to ``tick``; never warn.

    ``abandoned`` gets what had finished when the audit is interrupted (Ctrl-C, a timeout).
    ``processes`` share the images, and all of them return the whole audit. ``given``: transform,
    arguments, name, outputs, classes, groups and large_images, as of :func:`audit`.
    """
    try:
        return _run(model, images, settings, tick, abandoned, processes, **given)
    except BaseException as error:
        processes.tell(error)
        if isinstance(error, Exception) and not isinstance(error, PanError):
            raise not_prepared(error) from error
        raise


def _run(
    model: object,
    images: object,
    settings: Settings,
    tick: Tick,
    abandoned: Callable[[Audit], None],
    processes: Processes,
    *,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    outputs: Pick | None = None,
    classes: object = None,
    groups: object = None,
    large_images: object = None,
) -> Audit:
    check(settings)
    settings = replace(settings, probes=table.selected(settings.probes))
    device = devices.resolve_device(settings.device)
    devices.check_precision(settings.precision, device)
    loaded = load_model(model, arguments)
    source = partial(
        Images,
        images,
        transform=transform,
        batch_size=settings.batch_size,
        bad_images=settings.bad_images,
        seed=settings.seed,
        workers=settings.workers,
        device=device,
        suggested=transform_of(loaded, classes),
        outputs=class_names(classes, ()),
        groups=groups,
    )
    shard = source(shard=(processes.rank, processes.count))
    facts = model_facts(loaded, name_of(model, loaded, name))
    larger = None if large_images is None else LargeImages(large_images, seed=settings.seed)
    processes.agree({"model": facts["digest"], "settings": settings.to_json()})
    context = Context(
        model=on_device(loaded, device),
        settings=settings,
        device=device,
        processes=processes,
        expected=shard.expected,
        pick=outputs,
        classes=class_names(classes, shard.class_names),
        label_classes=shard.label_classes,
        units=Units(shard.groups),
        large_images=larger,
        large_units=Units(larger.groups if larger else None),
        activations=States(settings.memory, expected=shard.expected, processes=processes),
        original=OriginalOutputs(settings.memory // 8, settings.task, outputs),
    )
    start = Audit(
        model=facts,
        images=shard.facts(),
        environment=devices.facts(device),
        settings=replace(settings, device=str(device), workers=shard.workers),
        sites=(),
        neurons=(),
        measures={},
        skips=(),
        seconds={"load": 0.0, "forward": 0.0},
    )
    whole = partial(source, keep_repeated=processes.count > 1)
    return _Job(context, shard, whole, tick, abandoned, start).run()


@dataclass
class _Job:
    """One audit: rounds over the images until every probe has its findings."""

    context: Context
    shard: Images
    """This process's part of the images."""
    whole: Callable[[], Images]
    """Makes a source of all images."""
    tick: Tick
    abandoned: Callable[[Audit], None]
    audit: Audit
    halves: Halves = field(default_factory=Halves)
    observers: dict[str, Observer] = field(init=False)
    """Of the probes that have no findings yet."""
    digest: str = ""
    """Of the images of the first round."""
    file_skips: tuple[Skip, ...] = ()
    """Images of the first round that could not be read."""

    def __post_init__(self) -> None:
        declared = {probe.name: probe for probe in table.PROBES}
        self.observers = {}
        for name in self.context.settings.probes:
            module, _, made_by = declared[name].observer.partition(":")
            self.observers[name] = getattr(import_module(module), made_by)(self.context)

    def run(self) -> Audit:
        try:
            while asked := self._ask():
                self._round(asked)
        except BaseException as error:
            self._give_up(error)
        return self._noted()

    def _noted(self) -> Audit:
        """The audit with the notes that are no single probe's."""
        notes = (*few_images(self.audit), *self.audit.notes, *batches_cut(self.halves.size))
        return replace(self.audit, notes=notes, skips=(*self.audit.skips, *self.file_skips))

    def _ask(self) -> dict[str, tuple[Observer, Sequence[Pass]]]:
        """The passes of the next round, by probe; probes that need none give their findings."""
        asked: dict[str, tuple[Observer, Sequence[Pass]]] = {}
        for name, observer in list(self.observers.items()):
            started = now(self.context.device)
            passes = observer.passes(self.audit)
            if passes is not None and not passes:
                found = self._findings(name, observer)
                self._take(name, found)
                del self.observers[name]
                if not self.audit.sites:
                    raise nothing_examined(found.skips)
            elif passes:
                asked[name] = observer, passes
            self._add_seconds({name: now(self.context.device) - started})
        if self.digest:  # whoever needs more of them has taken it
            self.context.activations.clear()
        return asked

    def _findings(self, name: str, observer: Observer) -> Found:
        """The probe's findings, or the reason why it has none, if it stands alone."""
        try:
            return observer.findings(self.audit)
        except Exception as error:
            if not observer.stands_alone:
                raise
            why = f"the probe {name} failed: {type(error).__name__}: {error}"
            return Found(skips=(Skip(what=name, why=why, best_outcome="fail", probe=name),))

    def _take(self, name: str, found: Found) -> None:
        """Put what a probe found into the audit."""
        known = self.audit
        self.audit = replace(
            known,
            sites=known.sites if found.sites is None else found.sites,
            neurons=known.neurons if found.neurons is None else found.neurons,
            classes=known.classes if found.classes is None else found.classes,
            findings=known.findings
            if found.findings is None
            else {**known.findings, name: found.findings},
            measures={**known.measures, **found.measures},
            notes=(*known.notes, *found.notes),
            skips=(*known.skips, *found.skips),
        )

    def _round(self, asked: Mapping[str, tuple[Observer, Sequence[Pass]]]) -> None:
        """Run the passes: over this process's share of the images, and over all of them for what
        does not add up over processes.
        """
        apart = {
            name: pair
            for name, pair in asked.items()
            if self.context.processes.count > 1 and not pair[0].adds_up
        }
        together = {name: pair for name, pair in asked.items() if name not in apart}
        for group, source in ((together, self.shard), (apart, self.whole() if apart else None)):
            if group and source is not None:
                self._pass_over(source, group)

    def _pass_over(
        self, source: Images, asked: Mapping[str, tuple[Observer, Sequence[Pass]]]
    ) -> None:
        context, settings = self.context, self.context.settings
        started, waited, is_first = now(context.device), source.waited, not self.digest
        gate = borrowed(
            context.model,
            seed=settings.seed,
            precision=settings.precision,
            device=context.device,
        )
        try:
            with gate as ready:
                sites = [site.name for site in self.audit.sites]
                this = Round(ready, asked, device=context.device, sites=sites, halves=self.halves)
                if is_first:
                    self.audit = replace(self.audit, environment=devices.facts(context.device))
                this.run(self._batches(source), lambda done: self.tick(done, source.expected))
                if source is self.shard:
                    source.share(context.processes)
        finally:
            source.close()
            if is_first:
                self._see_images(source)
        self._check_same(source)
        load = source.waited - waited
        if is_first:
            self._add_seconds({"load": load, "forward": now(context.device) - started - load})
        else:
            self._add_seconds({"load": load, **this.seconds})

    def _batches(self, source: Images) -> Iterator[tuple[int, Batch]]:
        """The number of each batch's first image; its images on the device, and labels."""
        for images, labels in source:
            self.context.units.add(source.first, source.places)
            yield source.first, (images.to(self.context.device, non_blocking=True), labels)

    def _see_images(self, source: Images) -> None:
        facts = source.facts()
        self.digest = facts["digest"]
        self.file_skips = tuple(source.skips)
        self.audit = replace(self.audit, images=facts, notes=(*self.audit.notes, *source.notes))

    def _check_same(self, source: Images) -> None:
        if source.facts()["digest"] != self.digest:
            raise InputError(
                "the images changed between the first and the second pass",
                where="images",
                next="Draw random numbers from the global generators of torch, numpy or Python: "
                "each pass seeds them alike.",
            )

    def _add_seconds(self, more: Mapping[str, float]) -> None:
        known = self.audit.seconds
        self.audit = replace(
            self.audit, seconds={**known, **{k: known.get(k, 0.0) + v for k, v in more.items()}}
        )

    def _give_up(self, error: BaseException) -> NoReturn:
        """Raise the error with what is known so far."""
        for name, observer in self.observers.items():
            if (found := observer.interrupted()) is not None:
                self._take(name, found)
        audit = self._noted()
        if isinstance(error, Exception):
            raise stopped(error, audit) from error
        self.abandoned(replace(audit, partial=f"interrupted ({type(error).__name__})"))
        raise error
