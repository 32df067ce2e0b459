"""The audit on one page: inputs, gate, probes, record. Read this first."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from pytest_pan import environment, measures
from pytest_pan.errors import AuditError, ConfigError, InputError, PanError, PanWarning
from pytest_pan.inputs import Images, Transform, load_model, model_facts
from pytest_pan.instrument.gate import borrowed, on_device
from pytest_pan.probes import pans, portraits
from pytest_pan.records import Audit, Settings, Skip

FEW_IMAGES = 50
PROBES = ("pans",)

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
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
) -> Audit:
    """Finds the padding aware neurons of a model on images; the model stays as it is.

    ``model``: an ``nn.Module``, or ``"module:callable"`` called with ``arguments``. ``images``: a
    float tensor (N, C, H, W), a Dataset, a DataLoader (its own batch size counts), or a folder of
    image files, put through ``transform``. ``theta``: threshold of the KS statistics. ``memory``:
    bytes that activation samples may take. ``seed``: for random transforms.

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
    )
    result = run(
        model, images, settings=settings, transform=transform, arguments=arguments, name=name
    )
    warn(result, stacklevel=3)
    return result


def warn(result: Audit, *, stacklevel: int = 2) -> None:
    """A :class:`PanWarning` where the images are too few for the figures to be trusted."""
    if (count := result.images["count"]) < FEW_IMAGES:
        note = f"{result.model['name']}: {_few(count)}"
        warnings.warn(note, PanWarning, stacklevel=stacklevel)


def run(
    model: object,
    images: object,
    *,
    settings: Settings,
    transform: Transform | None = None,
    arguments: Mapping[str, Any] | None = None,
    name: str = "",
    tick: Tick = lambda done, expected: None,
    abandoned: Callable[[Audit], None] = lambda audit: None,
) -> Audit:
    """:func:`audit` with settings as a record and progress told to ``tick``; it never warns.

    ``abandoned`` gets what had finished when the audit is interrupted (Ctrl-C, a timeout).
    """
    check(settings)
    device = environment.resolve_device(settings.device)
    loaded = load_model(model, arguments)
    source = Images(
        images,
        transform=transform,
        batch_size=settings.batch_size,
        bad_images=settings.bad_images,
    )
    name = name or (model.partition(":")[2] if isinstance(model, str) else "")
    gathered = pans.Gathered()
    expected = source.expected
    started = time.perf_counter()
    failure: BaseException | None = None
    with borrowed(on_device(loaded, device), seed=settings.seed) as ready:
        batches = (batch.to(device) for batch, _ in source)
        try:
            pans.gather(
                ready,
                batches,
                gathered,
                expected=expected,
                settings=settings,
                tick=lambda done: tick(done, expected),
            )
        except BaseException as error:
            failure = error
        forward = time.perf_counter()
        found = pans.findings(ready, gathered, settings)
    facts = source.facts()
    result = Audit(
        model=model_facts(loaded, name),
        images=facts,
        environment=environment.facts(device),
        settings=replace(settings, device=str(device)),
        sites=found.sites,
        neurons=found.neurons,
        measures=found.measures,
        skips=(*found.skips, *source.skips),
        notes=_notes(found, gathered, facts["count"]),
        seconds={"forward": forward - started, "statistics": time.perf_counter() - forward},
    )
    if failure is not None and not isinstance(failure, Exception):
        abandoned(replace(result, partial=f"interrupted ({type(failure).__name__})"))
        raise failure
    if failure is not None:
        raise _stopped(failure, result) from failure
    if not found.sites:
        raise _stopped(_nothing(found.skips), result)
    return result


def check(settings: Settings) -> None:
    """Raises :class:`ConfigError` for a setting no audit could use."""
    unknown = [probe for probe in settings.probes if probe not in PROBES]
    if unknown or not settings.probes:
        raise ConfigError("probes", got=repr(unknown), allowed=", ".join(PROBES))
    number = isinstance(settings.theta, int | float) and not isinstance(settings.theta, bool)
    if not (number and 0 < settings.theta <= 1):
        raise ConfigError("theta", got=repr(settings.theta), allowed="above 0, up to 1")
    if settings.bad_images not in ("fail", "skip"):
        raise ConfigError("bad_images", got=repr(settings.bad_images), allowed="fail, skip")
    for key in ("batch_size", "memory"):
        value = getattr(settings, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(key, got=repr(value), allowed="a whole number from 1")
    if not isinstance(settings.seed, int) or not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", got=repr(settings.seed), allowed="a whole number from 0")


def _notes(found: pans.Findings, gathered: pans.Gathered, images: int) -> tuple[str, ...]:
    notes = []
    seldom = [s for s in gathered.examined() if s.images < gathered.images]
    if seldom:
        least = min(seldom, key=lambda samples: samples.images)
        notes.append(
            f"{len(seldom)} layers did not run on every image, {least.site.name} on {least.images} "
            f"of {gathered.images}"
        )
    if images < FEW_IMAGES:
        notes.append(_few(images))
    if len(found.neurons) > portraits.PORTRAITS:
        notes.append(
            f"distance profiles and histograms are those of the {portraits.PORTRAITS} strongest "
            f"of {len(found.neurons)} PANs"
        )
    small = [site for site in found.sites if site.reliability == "low"]
    if small:
        share = sum(site.channels for site in small) / sum(s.channels for s in found.sites)
        text = measures.find("pan_fraction").text(share)
        notes.append(
            f"{len(small)} layers with {text} of the neurons have maps up to 7x7, where the "
            "method weakens"
        )
    return tuple(notes)


def _few(images: int) -> str:
    return (
        f"only {images} image{'s' * (images != 1)}: fewer than {FEW_IMAGES} count too many PANs "
        "and name the wrong ones"
    )


def _stopped(error: Exception, partial: Audit) -> AuditError:
    """The error to raise in place of ``error``: what finished travels with it."""
    if isinstance(error, PanError):
        what, hint = str(error), ""
    else:
        what = f"the model raised {type(error).__name__}{_place(error)}: {error}"
        hint = "Does one batch of these images run through it?"
    done = partial.images["count"]
    stopped = AuditError(
        what,
        where=str(partial.model["name"]),
        got=f"images of shape {tuple(partial.images['shape'])}, {done} read" if done else "",
        next=hint,
    )
    stopped.audit = replace(partial, partial=what)
    return stopped


def _place(error: Exception) -> str:
    """Where the user's code raised it: the innermost frame that is neither torch's nor ours."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[0] != "<"]
    theirs = [frame for frame in frames if not frame.filename.startswith(ours)]
    if not theirs:
        return ""
    return f" at {theirs[-1].filename}:{theirs[-1].lineno}"


def _nothing(skips: tuple[Skip, ...]) -> InputError:
    reasons: dict[str, int] = {}
    for skip in skips:
        reasons[skip.why] = reasons.get(skip.why, 0) + 1
    listed = ", ".join(f"{count} with {why}" for why, count in reasons.items())
    return InputError(
        "no padded convolution to examine",
        got=f"{sum(reasons.values())} convolutions: {listed}" if reasons else "no convolution",
        allowed="at least one Conv2d with padding and a kernel larger than 1x1",
    )
