"""A model repo in a temporary folder, for the tests that run pytest inside pytest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # each has a core, and torch would take them all
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# pytester forgets what an in-process run imported, and torch cannot be imported twice
import torch
import torchvision
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

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # a test that times the machine fails on a busy one


@pytest.fixture
def repo(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repo whose pan_model has fifteen PANs among fifteen neurons."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    declare(pytester)
    return pytester


def declare(
    pytester: pytest.Pytester,
    model: str = "fifteen_types()",
    images: str = "bright_images(count=60, size=10)",
) -> None:
    """Writes the repo's conftest.py."""
    pytester.makeconftest(CONFTEST.format(model=model, images=images))
