"""Settings that no audit could use."""

from __future__ import annotations

from pytest_pan.errors import ConfigError
from pytest_pan.measures import PROBES
from pytest_pan.plans import MOST_DRAWS, SWAPPED_IN, TASKS
from pytest_pan.records import PRECISIONS, Settings


def check(settings: Settings) -> None:
    """Raises :class:`ConfigError` for a setting no audit could use."""
    unknown = [probe for probe in settings.probes if probe not in PROBES]
    if unknown or "pans" not in settings.probes:
        allowed = f"pans, with or without {', '.join(PROBES[1:])}"
        raise ConfigError("probes", got=", ".join(settings.probes) or "none", allowed=allowed)
    number = isinstance(settings.theta, int | float) and not isinstance(settings.theta, bool)
    if not (number and 0 < settings.theta <= 1):
        raise ConfigError("theta", got=repr(settings.theta), allowed="above 0, up to 1")
    for key, known in (("mode", SWAPPED_IN), ("task", TASKS), ("precision", PRECISIONS)):
        if getattr(settings, key) not in known:
            raise ConfigError(key, got=repr(getattr(settings, key)), allowed=", ".join(known))
    if settings.bad_images not in ("fail", "skip"):
        raise ConfigError("bad_images", got=repr(settings.bad_images), allowed="fail, skip")
    for key in ("batch_size", "memory"):
        value = getattr(settings, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(key, got=repr(value), allowed="a whole number from 1")
    workers = settings.workers
    if workers is not None and (type(workers) is not int or workers < 0):
        raise ConfigError("workers", got=repr(workers), allowed="None, a whole number from 0")
    if type(settings.draws) is not int or not 0 <= settings.draws <= MOST_DRAWS:
        allowed = f"a whole number from 0 to {MOST_DRAWS}"
        raise ConfigError("draws", got=repr(settings.draws), allowed=allowed)
    if type(settings.seed) is not int or not 0 <= settings.seed < 2**63:
        raise ConfigError("seed", got=repr(settings.seed), allowed="a whole number from 0")
