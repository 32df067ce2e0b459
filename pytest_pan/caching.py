"""Where a run's audits are cached, and how xdist's workers come by that."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.cache import Cache
from pytest_pan.errors import ConfigError

_FOLDER, _LASTING = "pan_cache", "pan_cache_lasting"
"""What a worker is told."""


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
        folder = told.get(_FOLDER)
        if folder is None or not Path(folder).is_dir():  # a worker on another machine
            return None
        return Cache(folder=Path(folder), run=told["testrunuid"], lasting=told[_LASTING])
    folder, _ = _lasting(config)
    return Cache(folder=folder, run=uuid.uuid4().hex) if folder else None


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
    """The hooks of xdist's controller: its workers get one folder, so that an audit which
    several of them need is made once. Without a cache it is theirs for the length of the run.
    """

    def __init__(self) -> None:
        self._own: Path | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        folder, _ = _lasting(node.config)
        if folder is None and self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="pytest-pan-"))
        node.workerinput[_FOLDER] = str(folder or self._own)
        node.workerinput[_LASTING] = folder is not None

    def pytest_unconfigure(self) -> None:
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
