"""A model repo in a temporary folder, for the tests that run pytest inside pytest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # each has a core, and torch would take them all
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# pytester forgets what an in-process run imported, and torch cannot be imported twice
import torch
import torchvision
from filelock import FileLock
from hypothesis import settings

import pytest_pan.cache.lookup
import pytest_pan.engine.pipeline
import pytest_pan.report.html

__all__ = ["pytest_pan", "torch", "torchvision"]

CONFTEST = """
import pytest, torch
from nets import bright_images, conv, fifteen_types, missing, striped_images

@pytest.fixture(scope="session")
def pan_model():
    return {model}

@pytest.fixture(scope="session")
def pan_images():
    return {images}
"""

COUNTED = """
import pathlib
from pytest_pan.engine import pipeline

made, run = pathlib.Path("made.txt"), pipeline.run

def counted(model, images, **given):
    with made.open("a") as file:
        file.write(given["name"] + "\\n")
    return run(model, images, **given)

pipeline.run = counted
"""
"""Added to a repo's conftest.py, writes the name of every audit made, not cached, to made.txt."""

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # a test that times the machine fails on a busy one


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fills a folder by that name in the first process that needs it; xdist's other workers wait
    for it and read the same.
    """
    own = tmp_path_factory.getbasetemp()
    base = own.parent if hasattr(request.config, "workerinput") else own

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture
def repo(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repo whose pan_model has fifteen PANs among fifteen neurons."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    pipeline = pytest_pan.engine.pipeline
    monkeypatch.setattr(pipeline, "run", pipeline.run)  # put back what COUNTED replaces
    declare(pytester)
    return pytester


def declare(
    pytester: pytest.Pytester,
    model: str = "fifteen_types()",
    images: str = "bright_images(count=60, size=10)",
) -> None:
    """Writes the repo's conftest.py."""
    pytester.makeconftest(CONFTEST.format(model=model, images=images))
