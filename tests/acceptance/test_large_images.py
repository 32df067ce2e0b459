"""Larger images by fixture and by pyproject.toml, and audits told apart by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from classifiers import network, noise

from pytest_pan.engine.request import request_of
from pytest_pan.records.audit import Settings

HERE = """
import pytest, torch
from classifiers import network, noise

def images(): return noise(60)
def large(): return torch.rand(34, 1, 48, 48, generator=torch.Generator().manual_seed(2)).double()
"""

FIXTURES = (
    HERE
    + """
pan_model = pytest.fixture(scope="session")(network)
pan_images = pytest.fixture(scope="session", name="pan_images")(images)
"""
)

DECLARED = """
[tool.pan.models.net]
model = "classifiers:network"
images = "here:images"
limits = { min_shift_consistency = 0.0 }
"""


@pytest.fixture
def bare(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", str(tests))
    monkeypatch.syspath_prepend(tests)
    monkeypatch.delitem(__import__("sys").modules, "here", raising=False)
    pytester.makepyfile(here=HERE)
    return pytester


def test_a_declared_callable_gives_them(bare: pytest.Pytester) -> None:
    bare.makepyprojecttoml(DECLARED + 'large_images = "here:large"\n')
    bare.runpytest("--pan-audit", "--pan-report=json").assert_outcomes(passed=1)
    (audit,) = json.loads((bare.path / "pan-report.json").read_text())["audits"]
    kinds = {each["kind"]: each["images"] for each in audit["findings"]["shift"]["found"]}
    assert kinds["shift"] == 34


def test_a_limit_without_them_says_what_it_needs(bare: pytest.Pytester) -> None:
    bare.makepyprojecttoml(DECLARED)
    result = bare.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not measured: it needs*larger images (pan_large_images)*"])


def test_anything_but_a_callable_is_refused(bare: pytest.Pytester) -> None:
    bare.makepyprojecttoml(DECLARED + 'large_images = "a/folder"\n')
    result = bare.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*large_images*allowed: 'module:callable'*"])


def test_a_fixture_gives_them(bare: pytest.Pytester) -> None:
    fixture = 'pan_large_images = pytest.fixture(scope="session", name="pan_large_images")(large)\n'
    bare.makeconftest(FIXTURES + fixture)
    bare.makepyfile(
        """
        import pytest

        @pytest.mark.pan(min_shift_consistency=0.0)
        def test_shift(pan_audit):
            assert pan_audit.findings["shift"].of("shift").images == 34
        """
    )
    bare.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_audits_with_other_larger_images_are_told_apart() -> None:
    model, images, larger = network(), noise(8), torch.rand(3, 1, 20, 20)
    other = larger.clone()
    other[2, 0, 0, 0] += 1
    prints = [
        request_of(model, images, Settings(), {"large_images": given}).computed
        for given in (larger, larger.clone(), other, None)
    ]
    assert prints[0] == prints[1] != ""
    assert len(set(prints)) == 3
