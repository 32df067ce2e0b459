"""Expected against audited: a run in which nothing was audited is not green."""

from __future__ import annotations

import json

import pytest

AUDITED = "def test_by_hand(pan_audit): ...\ndef test_factory(pan, pan_model, pan_images):\n"
AUDITED += "    pan(pan_model, pan_images, name='other')\n"


def test_the_summary_and_the_json_say_expected_against_audited(repo: pytest.Pytester) -> None:
    repo.makepyfile(AUDITED + "def test_plain(): ...\n")
    result = repo.runpytest("--pan-audit", "--pan-report=json")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "audits: 2 of 2 expected (2 tests); 2 audits made: 2 layers examined, 0 not; "
            "120 of 120 images read"
        ]
    )
    ran = json.loads((repo.path / "pan-report.json").read_text())["ran"]
    assert ran == {
        "expected": {"audits": 2, "models": 0, "tests": 2, "deselected": 0, "left_out": 0},
        "had": 2,
        "audits": 2,
        "sites": {"examined": 2, "skipped": 0},
        "images": {"expected": 120, "read": 120},
    }


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_was_deselected_or_skipped_is_said(repo: pytest.Pytester, workers: str) -> None:
    repo.makepyfile(
        AUDITED
        + "import pytest\n@pytest.mark.skip\n@pytest.mark.pan(max_pan_count=1)\n"
        + "def test_skipped(): ...\n"
    )
    result = repo.runpytest_subprocess("--pan-audit", "-k", "not factory", "-n", workers)
    result.assert_outcomes(passed=1, skipped=1, deselected=None if workers == "2" else 1)
    result.stdout.fnmatch_lines(
        ["audits: 1 of 2 expected (2 tests), 1 of 3 audits deselected; 1 audit made: *"]
    )


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_asks_for_no_audit_is_an_error(repo: pytest.Pytester, workers: str) -> None:
    repo.makepyfile("def test_plain(): ...")
    result = repo.runpytest_subprocess("--pan-audit", "--junitxml=junit.xml", "-n", workers)
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing was audited: no test has the marker pan or takes*"])
    assert 'errors="1"' in (repo.path / "junit.xml").read_text()


@pytest.mark.parametrize(
    "body", ["@pytest.mark.skip\ndef test_a(pan_audit): ...", "def test_a(pan): ..."]
)
def test_a_run_in_which_no_audit_came_about_is_an_error(repo: pytest.Pytester, body: str) -> None:
    repo.makepyfile(f"import pytest\n{body}")
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["nothing was audited: none of 1 audit ran"])


@pytest.mark.parametrize(
    ("options", "ret"),
    [
        (("--pan-audit", "--collect-only"), pytest.ExitCode.OK),
        (("--pan-audit", "--fixtures"), pytest.ExitCode.OK),
        (("--pan-audit", "-k", "plain"), pytest.ExitCode.OK),
        (("-o", "pan_audit=true", "test_plain.py"), pytest.ExitCode.OK),
        (("--pan-audit", "test_plain.py"), pytest.ExitCode.TESTS_FAILED),
        ((), pytest.ExitCode.OK),
    ],
)
def test_a_run_that_is_about_something_else_is_none(
    repo: pytest.Pytester, options: tuple[str, ...], ret: pytest.ExitCode
) -> None:
    repo.makepyfile(test_plain="def test_plain(): ...", test_audit="def test_audit(pan_audit): ...")
    result = repo.runpytest(*options)
    assert result.ret == ret
    if "-k" in options:
        result.stdout.fnmatch_lines(["pan: 1 of 1 audits deselected"])
