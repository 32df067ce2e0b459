"""Where a run's audits are cached, and how xdist's workers come by that."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.cache.store import Cache
from pytest_pan.engine.audits import Ledger
from pytest_pan.records.errors import ConfigError

_FOLDER, _LASTING, _HOST = "pan_cache", "pan_cache_lasting", "pan_cache_host"
"""What a worker is told."""
_TICK = 2.0
"""Seconds by which a file system's times may be coarse."""


def why_unwanted(config: pytest.Config) -> str:
    """Why the options want no cache; empty if they do. UsageError for a wrong value."""
    if config.getoption("pan_no_cache"):
        return "--pan-no-cache"
    try:
        return "" if config.getini("pan_cache") else "pan_cache = false"
    except (TypeError, ValueError, pytest.UsageError) as error:
        where = f"pan_cache in {config.inipath.name if config.inipath else 'ini'}"
        wrong = ConfigError("setting", where=where, got=str(error), allowed="true, false")
        raise pytest.UsageError(str(wrong)) from None


def cache_of(config: pytest.Config) -> Cache | None:
    """This process's cache; None where it is alone and none is wanted."""
    told = getattr(config, "workerinput", None)
    if told is not None:
        if (there := _shared(told)) is None:
            return None
        return Cache(folder=there, run=told["testrunuid"], lasting=told[_LASTING])
    folder, _ = _lasting(config)
    return Cache(folder=folder, run=uuid.uuid4().hex) if folder else None


def _shared(told: dict[str, Any]) -> Path | None:
    """The folder that a worker was told of; on another machine than the controller's only where
    that has it too.
    """
    if _FOLDER not in told:  # by a controller that does not audit
        return None
    folder = Path(told[_FOLDER])
    if told[_HOST] == platform.node():  # another worker may have cleared pytest's cache
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    return folder if folder.is_dir() else None


def clear_once(config: pytest.Config) -> None:
    """Leaves ``--cache-clear`` to the controller: xdist hands it on to the workers, and each that
    starts, also one in place of another that crashed, would clear what the run has made.
    """
    told = getattr(config, "workerinput", {})
    if told.get(_HOST) == platform.node() and config.getoption("cacheclear", False):
        config.option.cacheclear = False


def header(config: pytest.Config) -> str:
    """``pan: cache .pytest_cache/d/pan``, or why there is none."""
    folder, why = _lasting(config)
    if folder is None:
        return f"pan: no cache ({why})"
    inside = folder.is_relative_to(config.rootpath)
    return f"pan: cache {folder.relative_to(config.rootpath) if inside else folder}"


def _lasting(config: pytest.Config) -> tuple[Path | None, str]:
    """The folder below pytest's cache directory, or why there is none."""
    if why := why_unwanted(config):
        return None, why
    provider = getattr(config, "cache", None)
    if provider is None:
        return None, "-p no:cacheprovider"
    try:
        return Path(provider.mkdir("pan")), ""
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


class Sharing:
    """The hooks of the process that reports: xdist's workers get one folder, so that an audit
    which several of them need is made once. Without a cache it is theirs for the length of the
    run. With one, what is in it beyond measure goes when the run is over.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._since = ledger, time.time() - _TICK
        self._own: Path | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        folder, _ = _lasting(node.config)
        if folder is None and self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="pytest-pan-"))
        node.workerinput[_FOLDER] = str(folder or self._own)
        node.workerinput[_LASTING] = folder is not None
        node.workerinput[_HOST] = platform.node()

    def pytest_unconfigure(self) -> None:
        if self._ledger.cache is not None:
            self._ledger.cache.prune(self._since)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
