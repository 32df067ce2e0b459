"""A limit inside the interval of a figure: inconclusive, never green, and what that does."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from conftest import declare

UNSURE = "torch.cat([bright_images(56), striped_images(4)])"
"""Of four images among sixty it hangs whether six neurons are PANs, or none, or all fifteen."""

TEST = """
import pytest

@pytest.mark.pan(max_pan_count=10)
def test_unsure(): ...

@pytest.mark.pan(max_pan_count=15)
def test_sure(): ...
"""


@pytest.fixture
def unsure(repo: pytest.Pytester) -> pytest.Pytester:
    declare(repo, images=UNSURE)
    repo.makepyfile(TEST)
    return repo


@pytest.mark.parametrize(
    ("policy", "last", "code"),
    [
        ("", "*1 passed, 1 inconclusive*", 0),
        ("warn", "*1 passed, 1 inconclusive*", 0),
        ("pass", "*2 passed*", 0),
        ("fail", "*1 failed, 1 passed*", 1),
    ],
)
def test_the_last_line_and_the_exit_code_follow_the_option(
    unsure: pytest.Pytester, policy: str, last: str, code: int
) -> None:
    option = [f"--pan-inconclusive={policy}"] if policy else []
    result = unsure.runpytest("--pan-audit", *option)
    assert result.ret == code
    result.stdout.fnmatch_lines(
        [
            "  INCONCLUSIVE pan_count 6 (max 10)  marker of *",
            "    95 % interval 0 to 1? contains the limit; * more images would decide it",
        ]
    )
    result.stdout.fnmatch_lines(["  PASS pan_count 6 (max 15)  marker of *"])
    result.stdout.fnmatch_lines([last])
    assert ("inconclusive" in result.stdout.lines[-1]) is (policy in ("", "warn"))


@pytest.mark.parametrize(
    ("ini", "table", "option", "code"),
    [
        ("pan_inconclusive = fail", "", "", 1),
        ("", 'inconclusive = "fail"', "", 1),
        ("pan_inconclusive = fail", "", "warn", 0),
        ("", 'inconclusive = "fail"', "pass", 0),
    ],
)
def test_the_command_line_wins_over_both_files(
    unsure: pytest.Pytester, ini: str, table: str, option: str, code: int
) -> None:
    if ini:
        unsure.makeini(f"[pytest]\n{ini}")
    if table:
        unsure.makepyprojecttoml(f"[tool.pan]\n{table}")
    given = [f"--pan-inconclusive={option}"] if option else []
    assert unsure.runpytest("--pan-audit", *given).ret == code


@pytest.mark.parametrize(
    ("ini", "table", "option", "message"),
    [
        ("", "", "ignore", "--pan-inconclusive: setting, got 'ignore'; allowed: fail, warn, pass"),
        ("maybe", "", "", "pan_inconclusive in tox.ini: setting, got 'maybe'; allowed: fail, w*"),
        ("", "maybe", "", "pyproject.toml [[]tool.pan[]]: inconclusive, got 'maybe'; allowed: *"),
        ("fail", "warn", "", "pan_inconclusive in tox.ini, got 'fail', and inconclusive in pypr*"),
    ],
)
def test_a_wrong_value_is_refused_with_exit_code_4(
    unsure: pytest.Pytester, ini: str, table: str, option: str, message: str
) -> None:
    if ini:
        unsure.makefile(".ini", tox=f"[pytest]\npan_inconclusive = {ini}")
    if table:
        unsure.makepyprojecttoml(f'[tool.pan]\ninconclusive = "{table}"')
    given = [f"--pan-inconclusive={option}"] if option else []
    result = unsure.runpytest("--pan-audit", *given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}"])


def test_every_surface_has_the_outcome_and_the_interval(unsure: pytest.Pytester) -> None:
    unsure.runpytest(
        "--pan-audit",
        "--junitxml=junit.xml",
        *(f"--pan-report={kind}" for kind in ("json", "html", "markdown")),
    )
    (audit,) = json.loads((unsure.path / "pan-report.json").read_text())["audits"]
    verdict, _ = audit["verdicts"]
    assert verdict["outcome"] == "inconclusive"
    assert verdict["interval"] == audit["measures"]["pan_count"]["interval"]
    assert verdict["more_images"] > 0
    assert verdict["basis"].endswith("more images would decide it")
    page = (unsure.path / "pan-report.html").read_text()
    assert '<p class="outcome warn">1 limit inconclusive, 1 limit passed</p>' in page
    assert verdict["basis"] in page
    text = (unsure.path / "pan-report.md").read_text()
    assert "Padding audit: 1 limit inconclusive" in text
    assert "<b>INCONCLUSIVE</b>" in text
    tree = ET.parse(unsure.path / "junit.xml")  # noqa: S314
    cases = {case.get("name"): case for case in tree.iter("testcase")}
    properties = {p.get("name"): p.get("value") for p in cases["test_unsure"].iter("property")}
    low, high = verdict["interval"]
    assert properties == {
        "max_pan_count": "6.0",
        "max_pan_count.bound": "10.0",
        "max_pan_count.outcome": "inconclusive",
        "max_pan_count.interval": f"{low:g} to {high:g}",
    }


def test_a_declared_model_is_inconclusive_by_the_same_rule(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        net="import torch\nfrom nets import *\n"
        f"def images(): return {UNSURE}\n"
        "def model(): return fifteen_types()\n"
    )
    repo.makepyprojecttoml(
        '[tool.pan.models.net]\nmodel = "net:model"\nimages = "net:images"\n'
        "limits = { max_pan_count = 10, max_uneven_layers = 0 }\n"
    )
    result = repo.runpytest("--pan-audit", "-rA")
    result.stdout.fnmatch_lines(["*1 passed, 1 inconclusive*"])


def test_few_images_have_no_interval_and_the_plain_comparison_says_so(
    repo: pytest.Pytester,
) -> None:
    declare(repo, images="bright_images(count=9)")
    repo.makepyfile(TEST)
    result = repo.runpytest("--pan-audit", "-W", "ignore")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "  FAIL pan_count 15 (max 10)*",
            "    no interval: 9 images, at least 32 needed; only the value was compared *",
        ]
    )
