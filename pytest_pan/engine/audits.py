"""The run's book: audits made once, and their way from the process that ran them to the report.

Audits and verdicts leave a process as JSON text (on a test report, so that they survive a crashed
worker) and arrive in the one that reports, which may be the same. Text, because a number type of
numpy's or a string type of torch's would bring xdist's channel down. Nothing here knows pytest.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.errors import AuditError, ConfigError, PanError
from pytest_pan.records.limits import Limit, Verdict
from pytest_pan.verdicts.comparison import settings_of_figures

if TYPE_CHECKING:
    from pytest_pan.cache.store import Cache
    from pytest_pan.instrument.processes import Processes
    from pytest_pan.verdicts.baselines import Baselines

Tick = Callable[[int, int | None], None]

_EXTRAS: Mapping[str, Any] = {
    "transform": None,
    "arguments": None,
    "name": "",
    "outputs": None,
    "classes": None,
}
"""What may be given beside settings, with the default that leaving it out means."""


@dataclass(frozen=True, slots=True)
class _Made:
    """An audit or its error, and what it was asked with."""

    asked: Mapping[str, Any]
    audit: Audit | None
    error: PanError | None


@dataclass(slots=True)
class _Arrived:
    """An audit with what was said of it, and since when: places order both as a run in one
    process would.
    """

    audit: Audit
    at: tuple[int, int]
    verdicts: list[tuple[tuple[int, int], Verdict]] = field(default_factory=list)

    def take(self, at: tuple[int, int], verdict: Verdict) -> None:
        """A verdict, which other tests may have come to before."""
        for number, (before, other) in enumerate(self.verdicts):
            if other == verdict:
                self.verdicts[number] = min(before, at), other
                return
        self.verdicts.append((at, verdict))

    def whole(self) -> Audit:
        """The audit with its verdicts."""
        said = sorted(self.verdicts, key=lambda verdict: verdict[0])
        return replace(self.audit, verdicts=tuple(verdict for _, verdict in said))


class Ledger:
    """Audits of one run, in the order they were asked for.

    ``place`` is the number of the test that is running, the same in every process; ``cache`` is
    where audits may be found and are kept.
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
        self._made: list[_Made] = []
        self._processes: Processes | None = None
        self._to_send: list[str] = []
        self._arrived: dict[str, _Arrived] = {}

    def need(self, probes: Iterable[str]) -> None:
        """Lets every audit of this run look for these as well: limits ask for their figures."""
        every = dict.fromkeys((*self.settings.probes, *probes))
        self.settings = replace(self.settings, probes=tuple(every))

    def audit(self, model: object, images: object, given: dict[str, Any], tick: Tick) -> Audit:
        """The audit asked for: made now, or before if all it was asked with is the same.

        ``given`` are keyword arguments of :func:`pytest_pan.audit`. The same object with other
        weights or other pixels is not the same. Raises what an audit raises, and the same again
        when asked again.
        """
        asked = self._request(model, images, given)
        made = next((made for made in self._made if made.asked == asked), None)
        if made is None:
            made = self._make(asked, model, images, tick)
            self._made.append(made)
        elif made.audit is not None:
            self._send(made.audit)
        if made.error is not None:
            raise made.error.with_traceback(None)
        if made.audit is None:
            raise PanError("the audit left no result")
        return made.audit

    def _request(self, model: object, images: object, given: dict[str, Any]) -> dict[str, Any]:
        from pytest_pan.inputs.digests import fingerprint

        extras = {name: given.get(name, default) for name, default in _EXTRAS.items()}
        chosen = {name: value for name, value in given.items() if name not in extras}
        unknown = sorted(set(chosen) - set(Settings.__slots__))
        if unknown:
            allowed = ", ".join((*Settings.__slots__, *extras))
            raise ConfigError("setting of pan()", got=", ".join(unknown), allowed=allowed)
        return {
            "model": _Same(model),
            "images": _Same(images),
            "contents": (fingerprint(model), fingerprint(images)),
            "settings": replace(self.settings, **chosen),
            **extras,
        }

    def _make(self, asked: dict[str, Any], model: object, images: object, tick: Tick) -> _Made:
        extras = {name: asked[name] for name in _EXTRAS}
        audit: Audit | None = None
        failed: PanError | None = None
        try:
            audit = self._had(model, images, asked["settings"], tick, extras)
            self._send(audit, audit=audit.to_json())
        except PanError as error:
            # Its traceback would keep the frames, and with them the activations, to the end.
            failed = error.with_traceback(None)
            failed.__cause__ = failed.__context__ = None
            if isinstance(error, AuditError) and error.audit is not None:
                self._send(error.audit, audit=error.audit.to_json())
        return _Made(asked, audit, failed)

    def _had(
        self, model: object, images: object, settings: Settings, tick: Tick, extras: dict[str, Any]
    ) -> Audit:
        """From the cache where there is one, or made; several processes make it together, for
        they would have to agree on what the cache of each says.
        """
        processes = self.join()

        def made(model: object, name: str) -> Audit:
            from pytest_pan.engine.pipeline import run

            return run(
                model,
                images,
                settings=settings,
                tick=tick,
                abandoned=lambda audit: self._send(audit, audit=audit.to_json()),
                processes=processes,
                **{**extras, "name": name},
            )

        if self.cache is None or processes.count > 1:
            return made(model, extras["name"])
        from pytest_pan.cache.lookup import recall

        return recall(self.cache, model, images, settings=settings, compute=made, **extras)

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
        """Verdicts on the limits, kept for the report."""
        from pytest_pan.verdicts.ratchet import hold

        verdicts = hold(audit, limits, self.baselines)
        for verdict in verdicts:
            self._send(audit, verdict=verdict.to_json())
        return verdicts

    def troubles(self) -> list[str]:
        """What has gone wrong with the cache since the last call."""
        if self.cache is None:
            return []
        said = list(self.cache.troubles)
        self.cache.troubles.clear()
        return said

    def send(self) -> list[str]:
        """What has been made since the last call, as JSON texts."""
        sent, self._to_send = self._to_send, []
        return sent

    def receive(self, parcels: Iterable[str]) -> None:
        """Takes what :meth:`send` gave, here or in another process; the same twice is one."""
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
        """All that has arrived, with its verdicts, in the order of the tests that asked."""
        every = sorted(self._arrived.values(), key=lambda arrived: arrived.at)
        return tuple(arrived.whole() for arrived in every)


def key(audit: Audit) -> str:
    """The same for two audits of the same network on the same images with the same settings,
    wherever the images lie and whatever device it ran on.
    """
    images = {name: fact for name, fact in audit.images.items() if name != "source"}
    settings = settings_of_figures({"settings": audit.settings.to_json()})
    sites = [site.to_json() for site in audit.sites]
    parts = [audit.model, images, settings, audit.partial, sites]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class _Same:
    """Equality by identity that does not keep the object alive, where it can be helped.

    Plain values are compared by value. A dead object equals nothing, so that a new one at its
    address is not taken for it.
    """

    def __init__(self, thing: object) -> None:
        self._get: Callable[[], object]
        try:
            self._get = weakref.ref(thing)
        except TypeError:
            self._get = lambda: thing

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        mine, theirs = self._get(), other._get()
        plain = isinstance(mine, str) and isinstance(theirs, str)
        return mine is not None and (mine is theirs or (plain and mine == theirs))

    __hash__ = None  # type: ignore[assignment]
