"""The run's book: audits made once, and their way from the process that ran them to the report.

Audits and verdicts leave a process as JSON text (on a test report, so that they survive a crashed
worker) and arrive in the one that reports, which may be the same. Text, because a number type of
numpy's or a string type of torch's would bring xdist's channel down. Nothing here knows pytest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pytest_pan.errors import AuditError, ConfigError, PanError
from pytest_pan.judge import judge
from pytest_pan.records import Audit, Limit, Settings, Verdict

Tick = Callable[[int, int | None], None]

_NOT_SETTINGS = ("transform", "arguments", "name")


@dataclass(frozen=True, slots=True)
class _Made:
    """An audit or its error, with the very objects it was asked for."""

    asked: dict[str, Any]
    audit: Audit | None
    error: PanError | None


class Ledger:
    """Audits of one run, in the order they were made."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._made: list[_Made] = []
        self._to_send: list[str] = []
        self._arrived: dict[str, Audit] = {}

    def audit(self, model: object, images: object, given: dict[str, Any], tick: Tick) -> Audit:
        """The audit asked for: made now, or before if all it was asked with is the same.

        ``given`` are keyword arguments of :func:`pytest_pan.audit`. Raises what that raises, and
        the same again when asked again.
        """
        asked = {"model": model, "images": images, **given}
        made = next((m for m in self._made if _same(m.asked, asked)), None)
        if made is None:
            made = self._make(asked, tick)
            self._made.append(made)
        if made.audit is None or made.error is not None:
            raise made.error or PanError("the audit left no result")
        return made.audit

    def _make(self, asked: dict[str, Any], tick: Tick) -> _Made:
        from pytest_pan.pipeline import run

        extra = {k: asked[k] for k in _NOT_SETTINGS if k in asked}
        chosen = {k: v for k, v in asked.items() if k not in (*extra, "model", "images")}
        unknown = sorted(set(chosen) - set(Settings.__slots__))
        audit, error = None, None
        try:
            if unknown:
                allowed = ", ".join((*Settings.__slots__, *_NOT_SETTINGS))
                raise ConfigError("setting of pan()", got=", ".join(unknown), allowed=allowed)
            settings = replace(self.settings, **chosen)
            audit = run(asked["model"], asked["images"], settings=settings, tick=tick, **extra)
        except PanError as caught:
            error = caught
            audit = caught.audit if isinstance(caught, AuditError) else None
        if audit is not None:
            self._to_send.append(json.dumps({"key": key(audit), "audit": audit.to_json()}))
        return _Made(asked, audit, error)

    def judge(self, audit: Audit, limits: Iterable[Limit]) -> tuple[Verdict, ...]:
        """Verdicts on the limits, kept for the report."""
        verdicts = judge(audit, limits)
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
    """The same for two audits of the same weights on the same images with the same settings."""
    parts = [audit.model, audit.images, audit.settings.to_json(), audit.partial]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two requests ask for the same: by value for what is plain, else by identity."""
    plain = (str, int, float, tuple, type(None))
    return one.keys() == other.keys() and all(
        value is other[name] or (isinstance(value, plain) and value == other[name])
        for name, value in one.items()
    )
