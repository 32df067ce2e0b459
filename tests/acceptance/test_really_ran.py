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
            "audits: 2 of 2 expected (2 tests); 2 audits made: 2 layers examined, 0 skipped; "
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


def test_what_was_deselected_or_skipped_is_said(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        AUDITED
        + "import pytest\n@pytest.mark.skip\n@pytest.mark.pan(max_pan_count=1)\n"
        + "def test_skipped(): ...\n"
    )
    result = repo.runpytest("--pan-audit", "-k", "not factory")
    result.assert_outcomes(passed=1, skipped=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["audits: 1 of 2 expected (2 tests), 1 of 3 audits deselected; 1 audit made: *"]
    )


def test_an_audit_that_was_skipped_leaves_no_report_green(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_count=15)
        def test_had(): ...

        def test_not_had(pan_audit, missing): ...
        def test_left_out(pan_audit): ...

        @pytest.fixture
        def missing():
            pytest.skip("images are not here")
        """
    )
    reports = [f"--pan-report={kind}" for kind in ("json", "html", "markdown")]
    result = repo.runpytest("--pan-audit", "-k", "had", *reports)
    result.assert_outcomes(passed=1, skipped=1, deselected=1)
    said = "audits: 1 of 2 expected (2 tests), 1 of 3 audits deselected; 1 audit made: "
    result.stdout.fnmatch_lines([said + "*"])
    page = (repo.path / "pan-report.html").read_text()
    text = (repo.path / "pan-report.md").read_text()
    assert said in page
    assert said in text
    assert '<p class="outcome warn">1 of 2 expected audits missing, 1 limit passed</p>' in page
    assert "## ⚠️ Padding audit: 1 of 2 expected audits missing, 1 limit passed" in text


SERVED = """
import pytest

@pytest.fixture(scope="module", params=["audited", "not"])
def student(request, pan, pan_model, pan_images):
    return pan(pan_model, pan_images).pan_count if request.param == "audited" else 15

@pytest.fixture(scope="session")
def pan_models(): return []

def test_first(student): assert student == 15
def test_second(student): assert student == 15
def test_own(pan, pan_model, pan_images): assert pan(pan_model, pan_images).pan_count == 15
def test_none(pan, pan_models):
    for model in pan_models:
        assert pan(model, None).pan_count == 0

@pytest.mark.xfail(reason="known")
def test_known(pan_audit): assert pan_audit.pan_count == 0
"""


def test_only_tests_that_got_an_audit_count_themselves_or_by_a_fixture_of_longer_life(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(SERVED)
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(passed=6, xfailed=1)
    had = ("first[audited]", "second[audited]", "own", "known")
    asked = (*had, "first[not]", "second[not]", "none")
    result.stdout.fnmatch_lines([f"audits: {len(had)} of {len(asked)} expected (7 tests); *"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_asks_for_no_audit_is_an_error_and_so_is_each_limit_it_leaves_unchecked(
    repo: pytest.Pytester, workers: str
) -> None:
    repo.makepyfile("def test_plain(): ...")
    options = ("--pan-limit=max_pan_count=99", "--junitxml=junit.xml", "-n", workers)
    result = repo.runpytest("--pan-audit", *options)
    result.assert_outcomes(passed=1, errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "nothing was audited: no test has the marker pan or takes*",
            "max_pan_count = 99 (--pan-limit) was never checked: no declared model and no test m*",
        ]
    )
    assert 'errors="2"' in (repo.path / "junit.xml").read_text()


def test_a_run_that_asks_for_no_audit_is_one_error(repo: pytest.Pytester) -> None:
    repo.makepyfile("def test_plain(): ...")
    result = repo.runpytest("--pan-audit", "--junitxml=junit.xml")
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
        result.stdout.fnmatch_lines(["pan: 1 of 1 audit deselected"])


@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_errors_that_no_test_owns_are_not_remembered_as_failed_tests(
    repo: pytest.Pytester, option: str
) -> None:
    """No later run has a test of that id which could pass and be forgotten."""
    repo.makepyfile("def test_plain(): ...")
    first = repo.runpytest("--pan-audit", "--pan-limit=max_pan_count=3", option)
    first.assert_outcomes(passed=1, errors=2)
    kept = [path for path in (repo.path / ".pytest_cache").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if "pan::" in path.read_text(errors="replace")]
    result = repo.runpytest(option)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*known failures not in selected tests*")
    result.stdout.no_fnmatch_line("*previously failed test not found*")


def test_a_test_that_failed_is_remembered_beside_them(repo: pytest.Pytester) -> None:
    repo.makepyfile("def test_bad(pan_audit): assert 0\ndef test_good(pan_audit): ...")
    repo.runpytest("--pan-audit", "-p", "no:stepwise").assert_outcomes(passed=1, failed=1)
    repo.runpytest("--pan-audit", "--lf").assert_outcomes(failed=1)


def test_a_fixture_that_fails_shows_its_own_lines_and_none_of_ours(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def student(pan): return 1 / 0

        def test_student(student): ...
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*def student(pan): return 1 / 0", "E *ZeroDivisionError*"])
    result.stdout.no_fnmatch_line("*plugin/requests.py*")
