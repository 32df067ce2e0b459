"""The Markdown reports of a run: where they go, and what they share with the others."""

from __future__ import annotations

import json

import pytest

TEST = """
import pytest

@pytest.mark.pan(max_pan_count=1)
def test_strict(): ...

@pytest.mark.pan(max_pan_fraction=1.0)
@pytest.mark.parametrize("name", ["<b onclick='alert(1)'>|x|"])
def test_named(name): ...
"""


@pytest.fixture
def ready(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makepyfile(TEST)
    return repo


def test_markdown_replaces_its_file_and_says_the_verdicts(ready: pytest.Pytester) -> None:
    (ready.path / "pan-report.md").write_text("old")
    result = ready.runpytest("--pan-audit", "--pan-report=markdown", "--pan-report=json")
    result.stdout.fnmatch_lines([f"report: {(ready.path / 'pan-report.md').as_uri()}"])
    text = (ready.path / "pan-report.md").read_text()
    assert text.startswith("<!-- pytest-pan -->\n")
    assert "old" not in text
    assert "<b>FAIL</b> <code>Conv2d: pan_count 15 (max 1)" in text
    assert "<b onclick" not in text
    (audit,) = json.loads((ready.path / "pan-report.json").read_text())["audits"]
    assert f"| <code>pan_count</code> | {audit['measures']['pan_count']['value']:.0f} |" in text


def test_appending_leaves_what_other_steps_wrote(ready: pytest.Pytester) -> None:
    summary = ready.path / "summary.md"
    summary.write_text("# earlier step")
    for _ in range(2):
        ready.runpytest("--pan-audit", "--pan-report=markdown-append:summary.md")
    text = summary.read_text()
    assert text.startswith("# earlier step\n")
    assert text.count("<!-- pytest-pan -->") == 2


def test_the_ini_file_may_name_a_variable(
    ready: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.makeini("[pytest]\npan_report = markdown-append:${SUMMARY_OF_STEP}\n")
    monkeypatch.setenv("SUMMARY_OF_STEP", str(ready.path / "step.md"))
    ready.runpytest("--pan-audit")
    assert "pan_count" in (ready.path / "step.md").read_text()


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("markdown-append", "*no file to append to; allowed: markdown-append:FILE*"),
        ("markdown-append:", "*--pan-report=markdown-append:: no file*GITHUB_STEP_SUMMARY*not set"),
        ("markdown-append:$NOT_SET", "*$NOT_SET: the environment variable NOT_SET is not set;*"),
        ("markdown-append:${NOT_SET}/a", "*the environment variable NOT_SET is not set;*"),
        ("markdown-append:.", "*is a directory, not a file;*"),
        (
            "markdown-prepend:a",
            "*got 'markdown-prepend'; allowed: html, json, markdown, markdown-a*",
        ),
    ],
)
def test_a_place_that_is_none_is_refused_with_exit_code_4(
    ready: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, report: str, message: str
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    result = ready.runpytest("--pan-audit", f"--pan-report={report}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
