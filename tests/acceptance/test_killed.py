"""SIGKILL at any stage leaves the old report and the cache whole."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

CONFTEST = """
import os, signal
import pytest, torch
from nets import bright_images, fifteen_types

STAGE, IMAGES, SAMPLED = os.environ.get("STAGE", ""), 60, 3
PASSES = {"images of the cache": 0, "detection": 1, "comparison": 2}
ENDINGS = {"cache write": ".npz", "report write": ".html"}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = fifteen_types()

    def forward(self, x):
        return self.conv(x).mean((2, 3))

class Pictures(torch.utils.data.Dataset):
    read = 0

    def __init__(self):
        self.images = bright_images(IMAGES, size=10)
        self.images[7] = bright_images(1, size=10, seed=int(os.environ["SEED"]))[0]

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        if self.read == SAMPLED + PASSES.get(STAGE, -1) * IMAGES + IMAGES // 2:
            die()
        self.read += 1
        return self.images[index]

def pytest_configure():
    if STAGE in ENDINGS:  # between the temporary file and its moving into place
        move = os.replace
        os.replace = lambda a, b: die() if str(b).endswith(ENDINGS[STAGE]) else move(a, b)

@pytest.fixture
def pan_model():
    return Net()

@pytest.fixture
def pan_images():
    return Pictures()
"""
TEST = """
import pytest

@pytest.mark.pan(max_pan_fraction=1.0, max_log_odds_shift=9)
def test_padding(): ...
"""
STAGES = ("images of the cache", "detection", "comparison", "cache write", "report write")
OPTIONS = ("--pan-audit", "--pan-report=html", "--pan-report=json", "--pan-draws=0")


def audit(repo: pytest.Pytester, *options: str) -> dict[str, Any]:
    repo.runpytest(*OPTIONS, *options).assert_outcomes(passed=1)
    (found,) = json.loads((repo.path / "pan-report.json").read_text())["audits"]
    found.pop("seconds")
    return dict(found)


def kept(repo: pytest.Pytester) -> dict[Path, bytes]:
    """The entries of the cache, each read to its end."""
    entries = {path: path.read_bytes() for path in repo.path.glob(".pytest_cache/d/pan/*/*.npz")}
    for path in entries:
        with np.load(path, allow_pickle=False) as arrays:
            assert json.loads(arrays["json"].tobytes())["audit"]["measures"]
    return entries


def test_a_kill_at_any_stage_leaves_the_old_report_and_the_cache_whole(
    repo: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.makeconftest(CONFTEST)
    repo.makepyfile(TEST)
    monkeypatch.setenv("SEED", "0")
    audit(repo)
    reports = {path: path.read_bytes() for path in repo.path.glob("pan-report.*")}
    entries = kept(repo)
    assert len(reports) == 2
    assert len(entries) == 1
    monkeypatch.setenv("SEED", "1")
    for stage in STAGES:
        with monkeypatch.context() as patch:
            patch.setenv("STAGE", stage)
            died = repo.runpytest_subprocess(*OPTIONS)
        assert died.ret == -signal.SIGKILL, stage
        assert {path: path.read_bytes() for path in reports} == reports, stage
        # the figures of an audit that was whole before the report was written are kept
        now = kept(repo)
        assert len(now) == (2 if stage == "report write" else 1), stage
        assert now.items() >= entries.items(), stage
    again, afresh = audit(repo), audit(repo, "--pan-no-cache")
    assert (again.pop("cached"), afresh.pop("cached")) == (True, False)
    assert again == afresh
