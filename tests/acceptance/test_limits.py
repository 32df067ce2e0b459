"""Limits from the command line and from ``[tool.pan]``, beside a test's own."""

from __future__ import annotations

import pytest

TEST = """
import pytest

@pytest.mark.pan({limits})
def test_padding(): ...
"""

BARE = "[tool.pan]\nlimits = {{ {} }}\n"


@pytest.mark.parametrize(
    ("marker", "option", "table", "line"),
    [
        ("", "", "max_pan_count = 1", "FAIL pan_count 15 (max 1)  pyproject.toml [[]tool.pan[]]"),
        ("", "max_pan_count=15", "max_pan_count = 1", "PASS pan_count 15 (max 15)  --pan-limit"),
        ("max_pan_count=2", "max_pan_count=15", "", "FAIL pan_count 15 (max 2)  marker of *"),
        ("max_pan_count=20", "", "max_pan_count = 1", "PASS pan_count 15 (max 20)  marker of *"),
        ("", "max_pan_fraction[(m*]=0.5", "", "FAIL pan_fraction in (m* 100.00 % (max 50.00 %)*"),
        ("", "", 'max_pan_count = { "*" = 15 }', "PASS pan_count in [*] 15 (max 15)  pyproject*"),
        ("max_pan_count={'conv': 20}", "", "", "FAIL pan_count in conv undefined (max 20)*"),
    ],
)
def test_a_marked_test_is_held_against_them_and_the_nearest_place_wins(
    repo: pytest.Pytester, marker: str, option: str, table: str, line: str
) -> None:
    repo.makepyfile(TEST.format(limits=marker))
    repo.makepyprojecttoml(BARE.format(table))
    result = repo.runpytest("--pan-audit", *([f"--pan-limit={option}"] if option else []))
    passed = line.startswith("PASS")
    unchecked = bool(option and "--pan-limit" not in line and "[(" not in option)
    result.assert_outcomes(passed=int(passed), failed=int(not passed), errors=int(unchecked))
    result.stdout.fnmatch_lines([f"  {line}"])


def test_a_limit_of_the_command_line_that_every_marker_replaces_is_an_error(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(TEST.format(limits="max_pan_fraction=1.0"))
    result = repo.runpytest("--pan-audit", "--pan-limit=max_pan_fraction=0.01")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*max_pan_fraction = 0.01 (--pan-limit) was never checked: *"])


def test_limits_of_layers_add_to_that_of_the_whole_model(repo: pytest.Pytester) -> None:
    repo.makepyfile(TEST.format(limits="max_pan_fraction=1.0"))
    repo.makepyprojecttoml(BARE.format("max_pan_count = 20"))
    layers = "--pan-limit=max_pan_count[*]=14"
    result = repo.runpytest("--pan-audit", layers, "--pan-limit=max_pan_fraction[*]=0.9")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "  PASS pan_fraction 100.00 % (max 100.00 %)  marker*",
            "  FAIL pan_fraction in [*] 100.00 % (max 90.00 %)  --pan-limit",
            "  PASS pan_count 15 (max 20)  pyproject*",
            "  FAIL pan_count in [*] 15 (max 14)  --pan-limit",
        ]
    )


def test_a_test_that_skips_itself_fails_all_the_same_where_its_limit_did(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_count=1)
        def test_beyond():
            pytest.skip("not today")

        @pytest.mark.pan(max_pan_count=20)
        def test_within():
            pytest.skip("not today")
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*pan_count 15 is above max_pan_count = 1 *"])


def test_limits_of_different_measures_add_up(repo: pytest.Pytester) -> None:
    repo.makepyfile(TEST.format(limits="max_pan_count=15"))
    repo.makepyprojecttoml(BARE.format("max_uneven_layers = 0"))
    result = repo.runpytest("--pan-audit", "--pan-limit=max_pan_fraction=0.5")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*PASS pan_count 15 (max 15)*", "*FAIL pan_fraction*", "*PASS uneven_layers 0 (max 0)*"]
    )


def test_a_limit_that_nothing_was_held_against_is_an_error(repo: pytest.Pytester) -> None:
    repo.makepyfile("def test_by_hand(pan_audit): ...")
    result = repo.runpytest("--pan-audit", "--pan-limit=max_pan_count=99", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = "max_pan_count = 99 (--pan-limit) was never checked: no declared model and no test mark*"
    result.stdout.fnmatch_lines([f"ERROR: {said}"])
    assert 'errors="1"' in (repo.path / "junit.xml").read_text()


def test_a_limit_of_the_file_may_go_unchecked_where_only_some_files_run(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile("def test_by_hand(pan_audit): ...")
    repo.makepyprojecttoml(BARE.format("max_pan_count = 99"))
    file = next(repo.path.glob("test_*.py"))
    repo.runpytest("--pan-audit", file).assert_outcomes(passed=1)
    repo.runpytest("--pan-audit").assert_outcomes(passed=1, errors=1)


def test_a_limit_asks_for_the_probe_it_needs(repo: pytest.Pytester) -> None:
    repo.makepyfile(TEST.format(limits="max_pan_count=15"))
    result = repo.runpytest("--pan-audit", "--pan-limit=max_pan_floor=0")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PASS pan_floor 0.00 % (max 0.00 %)*"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_pan_fraction", "--pan-limit=max_pan_fraction: limit, got *; allowed: e.g. max_pan*"),
        (
            "max_pan_fraction=3%",
            "--pan-limit=*: bound of max_pan_fraction, got '3%'; allowed: a n*",
        ),
        ("max_pan_fractions=1", "--pan-limit=*unknown limit 'max_pan_fractions', got 1.0; allow*"),
        (
            "max_pan_fraction=1.5",
            "--pan-limit=*got 1.5; allowed: a fraction from 0 to 1*. Write 3*",
        ),
    ],
)
def test_a_wrong_limit_is_refused_with_exit_code_4_and_one_line(
    repo: pytest.Pytester, option: str, message: str
) -> None:
    repo.makepyfile(TEST.format(limits="max_pan_count=15"))
    result = repo.runpytest("--pan-audit", f"--pan-limit={option}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert len([line for line in result.stderr.lines if line]) == 1


def test_an_assertion_that_fails_shows_the_layers_and_neurons_behind_it(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        """
        def test_by_hand(pan_audit):
            assert pan_audit.pan_fraction <= 0.03

        def test_other(): assert False
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*assert 1.0 <= 0.03*",
            "*- padding audit -*",
            "Conv2d: 15 of 15 neurons (100.00 %) in 1 layer are padding aware, on 60 images*",
            "  (model): 100.00 %",
            "  (model) channel * is a * PAN: on * KS 1.00, KS+ 1.00, KS- 0.00",
        ]
    )
    assert str(result.stdout).count("- padding audit -") == 1


def test_the_factory_shows_every_audit_of_the_test_that_failed(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        def test_two(pan, pan_model, pan_images):
            first = pan(pan_model, pan_images, name="first")
            assert pan(pan_model, pan_images, name="second").pan_count < first.pan_count
        """
    )
    result = repo.runpytest("--pan-audit")
    result.stdout.fnmatch_lines(["first: 15 of 15 neurons*", "second: 15 of 15 neurons*"])
