"""xdist's workers: each audit made once, the report of a serial run, and no more lost than a crash
takes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import CONFTEST, COUNTED

from pytest_pan.instrument.devices import place

pytestmark = pytest.mark.slow

DEADLY = (
    COUNTED
    + """
import os, signal

class Deadly(torch.utils.data.Dataset):
    '''Takes the process that reads the tenth image down with it, once.'''

    def __init__(self):
        self.images = bright_images(count=60, size=10)

    def __len__(self):
        return 60

    def __getitem__(self, index):
        died = pathlib.Path("died.txt")
        if index == 10 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images[index]
"""
)
SHARED = """
import pytest

@pytest.mark.parametrize("number", range(8))
def test_together(pan_audit, number):
    assert pan_audit.pan_count == 15
"""
SEVERAL = """
import pytest

@pytest.mark.pan(max_pan_fraction=1.0, max_pan_count=3)
def test_a(): ...

def test_b(pan, pan_model, pan_images):
    pan(pan_model, pan_images, theta=0.9, name="strict")
    assert pan(pan_model, pan_images, theta=0.1, name="easy").pan_count < 15

@pytest.mark.pan(max_pan_fraction=0.5)
class TestC:
    def test_c(self, pan_audit): ...
    def test_d(self, pan, pan_model, pan_images):
        pan(pan_model, pan_images, theta=0.9, name="strict")

def test_e(pan, pan_model, pan_images):
    pan(pan_model, pan_images[:55], name="fewer")
"""
KILLED = """
from conftest import Deadly

def test_before(pan_audit): ...
def test_killed(pan, pan_model):
    pan(pan_model, Deadly(), name="deadly")
def test_after(pan, pan_model):
    assert pan(pan_model, Deadly(), name="deadly").pan_count == 15
"""


@pytest.fixture
def counting(repo: pytest.Pytester) -> pytest.Pytester:
    conftest = CONFTEST.format(model="fifteen_types()", images="bright_images(60, size=10)")
    repo.makeconftest(conftest + DEADLY)
    return repo


def run(repo: pytest.Pytester, *options: str) -> pytest.RunResult:
    return repo.runpytest("--pan-audit", "--pan-report=json", *options)


def report(repo: pytest.Pytester) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repo.path / "pan-report.json").read_text())
    return found


def made(repo: pytest.Pytester) -> list[str]:
    return (repo.path / "made.txt").read_text().split()


def test_an_audit_that_several_workers_need_is_made_once_where_the_cache_is_cleared(
    counting: pytest.Pytester,
) -> None:
    counting.makepyfile(SHARED)
    result = run(counting, "-n", "2", "--cache-clear")
    result.assert_outcomes(passed=8)
    assert made(counting) == ["Conv2d"]
    (audit,) = report(counting)["audits"]
    assert not audit["cached"]  # it is this run's own
    assert not any("not cached" in note for note in audit["notes"])


def test_an_audit_that_fails_fails_once_for_all_workers(counting: pytest.Pytester) -> None:
    """They wait for their turn at it, and would come to the same end one after the other."""
    broken = "torch.nn.Sequential(fifteen_types(), torch.nn.Flatten(9))"
    conftest = CONFTEST.format(model=broken, images="bright_images(60, size=10)")
    counting.makeconftest(conftest + COUNTED)
    counting.makepyfile(SHARED)
    result = run(counting, "-n", "2")
    result.assert_outcomes(errors=8)
    said = [line for line in result.outlines if line.startswith("Sequential: the model raised")]
    assert len(said) == 8
    assert made(counting) == ["Sequential"]
    (audit,) = report(counting)["audits"]
    assert "the model raised" in audit["partial"]
    assert not list(counting.path.glob(".pytest_cache/d/pan/*"))


def test_without_a_cache_audits_are_those_of_a_run_in_one_process_and_each_is_made_once(
    counting: pytest.Pytester,
) -> None:
    counting.makepyfile(SEVERAL)
    found = []
    for workers in ("0", "2"):
        (counting.path / "made.txt").unlink(missing_ok=True)
        run(counting, "-n", workers, "--pan-no-cache").assert_outcomes(passed=1, failed=4)
        whole = report(counting)
        for audit in (whole, *whole["audits"]):
            audit.pop("seconds")
        whole.pop("created")
        found.append(whole)
    names = [audit["model"]["name"] for audit in found[0]["audits"]]
    assert names == ["Conv2d", "strict", "easy", "fewer"]
    assert not any(audit["cached"] for audit in found[0]["audits"])
    assert found[1] == found[0]
    assert sorted(made(counting)) == ["Conv2d", "easy", "fewer", "strict"]


def test_a_killed_worker_loses_its_own_audit_and_no_other(counting: pytest.Pytester) -> None:
    counting.makepyfile(KILLED)
    result = run(counting, "-n", "2", "--cache-clear", "--pan-report=html")
    result.assert_outcomes(passed=2, failed=1)
    kept = list(counting.path.glob(".pytest_cache/d/pan/*/*.npz"))
    assert len(kept) == 2  # also that of before the worker came which was to clear the cache
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = report(counting)
    assert "test_killed" in said["partial"]
    assert "test_killed" in (counting.path / "pan-report.html").read_text()
    assert sorted(audit["model"]["name"] for audit in said["audits"]) == ["Conv2d", "deadly"]
    assert not any(audit["partial"] for audit in said["audits"])
    result.stdout.fnmatch_lines(["PARTIAL: tests failed without a verdict*::test_killed"])
    assert sorted(made(counting)) == ["Conv2d", "deadly", "deadly"]


def test_a_worker_killed_in_a_test_without_an_audit_leaves_the_report_whole(
    counting: pytest.Pytester,
) -> None:
    counting.makepyfile(
        test_audit="def test_audit(pan_audit): ...",
        test_plain="import os\ndef test_plain(): os._exit(3)\ndef test_other(): ...",
    )
    result = run(counting, "-n", "2", "--pan-report=html")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report(counting)["partial"] == ""
    assert report(counting)["ran"]["had"] == 1
    assert "test_plain" not in (counting.path / "pan-report.html").read_text()
    result.stdout.no_fnmatch_line("PARTIAL*")


@pytest.mark.parametrize(
    ("worker", "current", "count", "expected"),
    [(0, 0, 2, 0), (1, 0, 2, 1), (2, 0, 2, 0), (5, 0, 4, 1), (3, 0, 1, 0), (1, 1, 2, 0)],
)
def test_workers_take_the_visible_gpus_in_turn(
    worker: int, current: int, count: int, expected: int
) -> None:
    assert place(worker, current, count) == expected
