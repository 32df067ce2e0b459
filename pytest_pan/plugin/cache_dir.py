"""Cache directory of a run, shared with xdist workers."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.cache.store import Cache
from pytest_pan.engine.audits import Ledger
from pytest_pan.plugin.settings import in_ini_file
from pytest_pan.records.errors import ConfigError

_FOLDER, _LASTING, _HOST = "pan_cache", "pan_cache_lasting", "pan_cache_host"
"""Keys of a worker's input: the folder, whether it outlives the run, the controller's host."""
_TIME_RESOLUTION = 2.0
"""Coarsest resolution of a file system's times, in seconds."""


def why_disabled(config: pytest.Config) -> str:
    """Return the option that disables the cache; empty if none does. Raise UsageError."""
    if config.getoption("pan_no_cache"):
        return "--pan-no-cache"
    try:
        return "" if config.getini("pan_cache") else "pan_cache = false"
    except (TypeError, ValueError, pytest.UsageError) as error:
        where = in_ini_file(config, "pan_cache")
        wrong = ConfigError("setting", where=where, got=str(error), allowed="true, false")
        raise pytest.UsageError(str(wrong)) from None


def open_cache(config: pytest.Config) -> Cache | None:
    """Return this process's cache; None if it is disabled and there are no other workers."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        if (folder := _shared_folder(workerinput)) is None:
            return None
        return Cache(folder=folder, run=workerinput["testrunuid"], lasting=workerinput[_LASTING])
    folder, _ = _lasting_folder(config)
    return Cache(folder=folder, run=uuid.uuid4().hex) if folder else None


def _shared_folder(workerinput: Mapping[str, Any]) -> Path | None:
    """Return the controller's cache folder; None if this worker's machine does not have it."""
    if _FOLDER not in workerinput:  # the controller runs no audits
        return None
    folder = Path(workerinput[_FOLDER])
    if workerinput[_HOST] == platform.node():  # another worker may have cleared pytest's cache
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    return folder if folder.is_dir() else None


def clear_once(config: pytest.Config) -> None:
    """Ignore ``--cache-clear`` in workers on the controller's host.

    xdist passes the option on, so each worker that starts would clear what the run has cached.
    """
    workerinput = getattr(config, "workerinput", {})
    if workerinput.get(_HOST) == platform.node() and config.getoption("cacheclear", False):
        config.option.cacheclear = False


def header(config: pytest.Config) -> str:
    """Return the header line: ``pan: cache .pytest_cache/d/pan``, or why there is no cache."""
    folder, why_not = _lasting_folder(config)
    if folder is None:
        return f"pan: no cache ({why_not})"
    is_inside = folder.is_relative_to(config.rootpath)
    return f"pan: cache {folder.relative_to(config.rootpath) if is_inside else folder}"


def _lasting_folder(config: pytest.Config) -> tuple[Path | None, str]:
    """Return the folder in pytest's cache directory, or None and why there is none."""
    if why_not := why_disabled(config):
        return None, why_not
    provider = getattr(config, "cache", None)
    if provider is None:
        return None, "-p no:cacheprovider"
    try:
        return Path(provider.mkdir("pan")), ""
    except OSError as error:
        return None, f"{type(error).__name__}: {error}"


class CacheSharing:
    """Plugin of the reporting process: gives xdist workers a folder in which to share audits.

    If the cache is disabled, the folder is temporary. At the end of the run, prunes the cache.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._since = ledger, time.time() - _TIME_RESOLUTION
        self._temporary: Path | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        folder, _ = _lasting_folder(node.config)
        if folder is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="pytest-pan-"))
        node.workerinput[_FOLDER] = str(folder or self._temporary)
        node.workerinput[_LASTING] = folder is not None
        node.workerinput[_HOST] = platform.node()

    def pytest_unconfigure(self) -> None:
        if self._ledger.cache is not None:
            self._ledger.cache.prune(self._since)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
