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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_pan.errors import AuditError, ConfigError, PanError
from pytest_pan.records import Audit, Limit, Settings, Verdict

if TYPE_CHECKING:
    from pytest_pan.baseline import Baselines
    from pytest_pan.distributed import Processes

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


class Ledger:
    """Audits of one run, in the order they were made."""

    def __init__(self, settings: Settings, baselines: Baselines | None = None) -> None:
        self.settings, self.baselines = settings, baselines
        self._made: list[_Made] = []
        self._processes: Processes | None = None
        self._to_send: list[str] = []
        self._arrived: dict[str, Audit] = {}

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
        if made.error is not None:
            raise made.error.with_traceback(None)
        if made.audit is None:
            raise PanError("the audit left no result")
        return made.audit

    def _request(self, model: object, images: object, given: dict[str, Any]) -> dict[str, Any]:
        from pytest_pan.fingerprints import fingerprint

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
        from pytest_pan.pipeline import run

        extras = {name: asked[name] for name in _EXTRAS}
        audit: Audit | None = None
        failed: PanError | None = None
        try:
            audit = run(
                model,
                images,
                settings=asked["settings"],
                tick=tick,
                abandoned=self._send_audit,
                processes=self.join(),
                **extras,
            )
            self._send_audit(audit)
        except PanError as error:
            # Its traceback would keep the frames, and with them the activations, to the end.
            failed = error.with_traceback(None)
            failed.__cause__ = failed.__context__ = None
            if isinstance(error, AuditError) and error.audit is not None:
                self._send_audit(error.audit)
        return _Made(asked, audit, failed)

    def join(self) -> Processes:
        """The processes that share this run's audits; joined once."""
        if self._processes is None:
            from pytest_pan.distributed import join

            self._processes = join()
        return self._processes

    def _send_audit(self, audit: Audit) -> None:
        self._to_send.append(json.dumps({"key": key(audit), "audit": audit.to_json()}))

    def judge(self, audit: Audit, limits: Iterable[Limit]) -> tuple[Verdict, ...]:
        """Verdicts on the limits, kept for the report."""
        from pytest_pan.ratchet import hold

        verdicts = hold(audit, limits, self.baselines)
        self._to_send += [
            json.dumps({"key": key(audit), "verdict": verdict.to_json()}) for verdict in verdicts
        ]
        return verdicts

    def send(self) -> list[str]:
        """What has been made since the last call, as JSON texts."""
        sent, self._to_send = self._to_send, []
        return sent

    def receive(self, parcels: Iterable[str]) -> None:
        """Takes what :meth:`send` gave, here or in another process; the same twice is one."""
        for parcel in map(json.loads, parcels):
            if "audit" in parcel:
                self._arrived.setdefault(parcel["key"], Audit.from_json(parcel["audit"]))
            else:
                audit = self._arrived[parcel["key"]]
                verdict = Verdict.from_json(parcel["verdict"])
                if verdict not in audit.verdicts:
                    whole = replace(audit, verdicts=(*audit.verdicts, verdict))
                    self._arrived[parcel["key"]] = whole

    @property
    def audits(self) -> tuple[Audit, ...]:
        """All that has arrived, with its verdicts."""
        return tuple(self._arrived.values())


def key(audit: Audit) -> str:
    """The same for two audits of the same network on the same images with the same settings."""
    sites = [site.to_json() for site in audit.sites]
    parts = [audit.model, audit.images, audit.settings.to_json(), audit.partial, sites]
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
