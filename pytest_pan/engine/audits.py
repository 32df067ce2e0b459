"""Ledger of a run: makes each audit once, and sends it to the process that reports.

Audits and verdicts leave a process as JSON text (on a test report, so that they survive a crashed
worker) and arrive in the one that reports, which may be the same. Text, because xdist cannot send
numpy's numbers or torch's strings. Nothing here knows pytest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_pan.engine.request import Request, request_of
from pytest_pan.probes import table
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.errors import AuditError, PanError
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.verdicts.comparison import settings_of_figures

if TYPE_CHECKING:
    from pytest_pan.cache.store import Cache
    from pytest_pan.instrument.processes import Processes
    from pytest_pan.verdicts.baselines import Baselines

Tick = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class _Made:
    """An audit of this run, or the error it ended with."""

    audit: Audit | None
    error: PanError | None


@dataclass(slots=True)
class _Arrived:
    """A received audit with its verdicts. Their places sort both as in a run of one process."""

    audit: Audit
    at: tuple[int, int]
    verdicts: list[tuple[tuple[int, int], Verdict]] = field(default_factory=list)

    def take(self, at: tuple[int, int], verdict: Verdict) -> None:
        """Add a verdict; a duplicate keeps the earlier place."""
        for number, (before, other) in enumerate(self.verdicts):
            if other == verdict:
                self.verdicts[number] = min(before, at), other
                return
        self.verdicts.append((at, verdict))

    def whole(self) -> Audit:
        """Return the audit with its verdicts."""
        said = sorted(self.verdicts, key=lambda verdict: verdict[0])
        return replace(self.audit, verdicts=tuple(verdict for _, verdict in said))


class Ledger:
    """Audits of one run, in the order of the requests.

    ``place`` is the number of the test that is running, the same in every process; ``cache`` is
    where audits are looked up and kept.
    """

    def __init__(
        self,
        settings: Settings,
        baselines: Baselines | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.settings, self.baselines, self.cache = settings, baselines, cache
        self.place = 0
        self._sent = 0
        self._made: dict[tuple[str, str], _Made] = {}
        self._processes: Processes | None = None
        self._to_send: list[str] = []
        self._arrived: dict[str, _Arrived] = {}

    def need(self, probes: Iterable[str]) -> None:
        """Add probes that limits need to all audits of this run."""
        every = dict.fromkeys((*self.settings.probes, *probes))
        self.settings = replace(self.settings, probes=tuple(every))

    def audit(self, model: object, images: object, given: dict[str, Any], tick: Tick) -> Audit:
        """Return the audit of a model on images, made now, or earlier in this run or another.

        ``given`` are keyword arguments of :func:`pytest_pan.audit`. An earlier audit is
        used only if its inputs have the same fingerprint. Raises what an audit raises; for the same
        inputs the same error again.
        """
        made = self._answer(model, images, given, tick)
        if made.error is not None:
            raise made.error.with_traceback(None)
        if made.audit is None:
            raise PanError("the audit left no result")
        return made.audit

    def _answer(self, model: object, images: object, given: dict[str, Any], tick: Tick) -> _Made:
        """Find or make the audit. Separate from :meth:`audit`, because an error keeps that frame
        alive, which must not hold the images.
        """
        request = request_of(model, images, self.settings, given)
        made = self._earlier(request)
        if made is None:
            made = self._make(request, tick)
        elif made.audit is not None:
            self._send(made.audit)
        self._remember(request, made)
        return made

    def _earlier(self, request: Request) -> _Made | None:
        """Return the audit of the same inputs that this run has made, if every process has one."""
        found = self._made.get((request.computed, request.held)) if request.network else None
        if found is not None and not _has_same_images(request, found):
            found = None
        have = self.join().meet("request", found is not None)
        return found if all(have) else None

    def _remember(self, request: Request, made: _Made) -> None:
        """Keep the audit for later requests. Its forward passes may have changed what the model or
        the images hold, such as a cache or a counter, so it is kept under the new state too.
        """
        self._made[request.computed, request.held] = made
        self._made[request.computed, request.held_now()] = made

    def _make(self, request: Request, tick: Tick) -> _Made:
        try:
            audit = self._recall(request, tick)
            self._send(audit, audit=audit.to_json())
        except PanError as error:
            # Its traceback would keep the frames, and with them the activations, to the end.
            failed = error.with_traceback(None)
            failed.__cause__ = failed.__context__ = None
            if isinstance(error, AuditError) and error.audit is not None:
                partial = _identified(error.audit, request.network)
                self._send(partial, audit=partial.to_json())
            return _Made(None, failed)
        return _Made(audit, None)

    def _recall(self, request: Request, tick: Tick) -> Audit:
        """Take the audit from the cache if there is one, or make it. Several processes that share
        images do not use the cache: they would have to agree on what each cache has.
        """
        processes = self.join()

        def compute() -> Audit:
            from pytest_pan.engine.pipeline import run

            def abandoned(audit: Audit) -> None:
                partial = _identified(audit, request.network)
                self._send(partial, audit=partial.to_json())

            audit = run(
                request.model,
                request.images,
                settings=request.settings,
                tick=tick,
                abandoned=abandoned,
                processes=processes,
                **request.extras,
            )
            return _identified(audit, request.network)

        if self.cache is None or processes.count > 1 or request.source is None:
            return compute()
        from pytest_pan.cache.lookup import recall

        return recall(
            self.cache,
            request.images,
            request.source,
            fingerprint=request.network,
            settings=request.settings,
            compute=compute,
        )

    def join(self) -> Processes:
        """The processes that share this run's audits; joined once."""
        if self._processes is None:
            from pytest_pan.instrument.processes import join

            self._processes = join()
        return self._processes

    def _send(self, of: Audit, **what: Any) -> None:
        self._sent += 1
        parcel = {"key": key(of), "at": (self.place, self._sent), **what}
        self._to_send.append(json.dumps(parcel))

    def judge(self, audit: Audit, limits: Iterable[Limit]) -> tuple[Verdict, ...]:
        """Return the verdicts on the limits, and keep them for the report."""
        from pytest_pan.verdicts.baseline_limits import judge_all

        verdicts = judge_all(audit, limits, self.baselines)
        for verdict in verdicts:
            self._send(audit, verdict=verdict.to_json())
        return verdicts

    def troubles(self) -> list[str]:
        """Return the problems of the cache since the last call."""
        if self.cache is None:
            return []
        said = list(self.cache.troubles)
        self.cache.troubles.clear()
        return said

    def send(self) -> list[str]:
        """Return what was made since the last call, as JSON texts."""
        sent, self._to_send = self._to_send, []
        return sent

    def receive(self, parcels: Iterable[str]) -> None:
        """Add what :meth:`send` returned, in this or another process; duplicates are ignored."""
        for parcel in map(json.loads, parcels):
            at = (parcel["at"][0], parcel["at"][1])
            if "audit" in parcel:
                audit = table.read_audit(parcel["audit"])
                self._arrived.setdefault(parcel["key"], _Arrived(audit, at))
            arrived = self._arrived[parcel["key"]]
            arrived.at = min(arrived.at, at)
            if "verdict" in parcel:
                verdict = Verdict.from_json(parcel["verdict"])
                arrived.take(at, verdict)

    @property
    def audits(self) -> tuple[Audit, ...]:
        """Return all received audits with their verdicts, in the order of the tests."""
        every = sorted(self._arrived.values(), key=lambda arrived: arrived.at)
        return tuple(arrived.whole() for arrived in every)


_CHEAP_SHARE, _CHEAP_SECONDS = 0.03, 0.2
"""Most that reading all images again may take: a share of the audit's time, or seconds."""


def _has_same_images(request: Request, made: _Made) -> bool:
    """Return whether all images are those of the audit, if reading them again is cheap. Otherwise
    the fingerprint, which covers sampled images and what their source holds, has decided.
    """
    audit = made.audit
    if audit is None or request.source is None or not audit.seconds:
        return True
    allowed = max(_CHEAP_SHARE * sum(audit.seconds.values()), _CHEAP_SECONDS)
    if audit.seconds.get("load", 0.0) > allowed:
        return True
    from pytest_pan.inputs.samples import facts_of_all

    facts = facts_of_all(request.source, seed=request.settings.seed)
    same = all(facts.get(key) == audit.images.get(key) for key in ("digest", "labels"))
    return same and facts["complete"]


def _identified(audit: Audit, fingerprint: str) -> Audit:
    """Return the audit with the fingerprint of its inputs among the facts of the model."""
    return replace(audit, model={**audit.model, "fingerprint": fingerprint})


def key(audit: Audit, *, is_same_machine: bool = True) -> str:
    """Return a key that is equal for audits with the same network, images and settings, whatever
    the folder of the images and the device.

    Fingerprints of different machines differ in the last bits, so they are left out if the audits
    may come from several.
    """
    images = {name: fact for name, fact in audit.images.items() if name != "source"}
    model = dict(audit.model)
    if not is_same_machine:
        model.pop("fingerprint", None)
    settings = settings_of_figures({"settings": audit.settings.to_json()})
    sites = [site.to_json() for site in audit.sites]
    parts = [model, images, settings, audit.partial, sites]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
