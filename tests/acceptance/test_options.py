"""Every option of the command line and the ini file, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TEST = """
import pytest

@pytest.mark.pan(max_pan_fraction=1.0)
def test_padding(): ...
"""


@pytest.fixture
def ready(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makepyfile(TEST)
    return repo


def settings(folder: Path) -> dict[str, object]:
    (audit,) = json.loads((folder / "pan-report.json").read_text())["audits"]
    settings: dict[str, object] = audit["settings"]
    return settings


def test_settings_reach_the_audit_and_the_command_line_wins_over_the_ini_file(
    ready: pytest.Pytester,
) -> None:
    ready.makeini("[pytest]\npan_theta = 0.25\npan_batch_size = 7\npan_memory = 1000000\n")
    ready.runpytest(
        "--pan-audit", "--pan-report=json", "--pan-theta=0.75", "--pan-seed=5", "--pan-device=cpu"
    ).assert_outcomes(passed=1)
    found = settings(ready.path)
    assert (found["theta"], found["batch_size"], found["seed"]) == (0.75, 7, 5)
    assert (found["device"], found["memory"]) == ("cpu", 1000000)


def test_the_header_says_device_and_settings_only_when_active(ready: pytest.Pytester) -> None:
    on = ready.runpytest("--pan-audit", "--pan-device=cpu")
    on.stdout.fnmatch_lines(
        [
            "pan: audit on cpu (*thread*)",
            "pan: float32, deterministic, theta 0.5, batch size 32, seed 0, workers auto",
        ]
    )
    ready.runpytest().stdout.no_fnmatch_line("pan:*")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--pan-theta=0", "*--pan-theta: setting, got '0'; allowed: a number above 0, up to 1*"),
        ("--pan-theta=nan", "*--pan-theta*nan*"),
        ("--pan-batch-size=none", "*--pan-batch-size: setting, got 'none'; allowed: a whole*"),
        ("--pan-seed=1000000000000000000000", "*--pan-seed*allowed: a whole number from 0*"),
        ("--pan-seed=-1", "*--pan-seed*allowed: a whole number from 0*"),
        ("--pan-precision=half", "*--pan-precision: setting, got 'half'; allowed: float32, tf32*"),
        ("--pan-precision=float64", "*--pan-precision*got 'float64'; allowed: float32, tf32, b*"),
        ("--pan-workers=-1", "*--pan-workers: setting, got '-1'; allowed: auto, a whole number*"),
        ("--pan-workers=all", "*--pan-workers: setting, got 'all'; allowed: auto, a whole num*"),
        ("--pan-device=tpu", "*--pan-device: device, got 'tpu'; allowed: auto, cpu*"),
        ("--pan-device=cuda:99", "*--pan-device: device, got 'cuda:99'; allowed: auto, cpu*"),
        ("--pan-report=pdf", "*--pan-report=pdf: report type, got 'pdf'; allowed: html, json*"),
        ("--pan-report=html:.", "*--pan-report=html:.: * is a directory, not a file*"),
    ],
)
def test_a_wrong_value_is_refused_with_exit_code_4(
    ready: pytest.Pytester, option: str, message: str
) -> None:
    result = ready.runpytest("--pan-audit", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_wrong_value_in_the_ini_file_names_the_file_and_the_key(ready: pytest.Pytester) -> None:
    ready.makeini("[pytest]\npan_bad_images = ignore\n")
    result = ready.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pan_bad_images in tox.ini: setting, got 'ignore'; allowed: fa*"])


def test_options_never_swallow_a_test_path(ready: pytest.Pytester) -> None:
    ready.runpytest("--pan-audit", ready.path).assert_outcomes(passed=1)


def test_reports_go_where_they_are_asked_for(ready: pytest.Pytester) -> None:
    result = ready.runpytest("--pan-audit", "--pan-report=html:out/net.html", "--pan-report=json")
    result.stdout.fnmatch_lines([f"report: {(ready.path / 'out/net.html').as_uri()}"])
    assert (ready.path / "out/net.html").read_text().lower().startswith("<!doctype html>")
    assert (ready.path / "pan-report.json").exists()


def test_no_report_is_written_unless_asked_for(ready: pytest.Pytester) -> None:
    before = set(ready.path.iterdir())
    ready.runpytest("--pan-audit", "-p", "no:cacheprovider")
    assert {p.name for p in set(ready.path.iterdir()) - before} <= {"__pycache__"}


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    ready: pytest.Pytester,
) -> None:
    (ready.path / "file").write_text("in the way")
    result = ready.runpytest("--pan-audit", "--pan-report=json:file/report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--pan-report=json:file/report.json: *file is not a directory; *"]
    )


def test_a_report_whose_place_goes_away_fails_the_run_and_leaves_the_other(
    ready: pytest.Pytester,
) -> None:
    ready.makepyfile(
        """
        import pathlib, pytest

        @pytest.mark.pan(max_pan_fraction=1.0)
        def test_padding():
            pathlib.Path("gone").write_text("in the way now")
        """
    )
    result = ready.runpytest("--pan-audit", "--pan-report=json:gone/a.json", "--pan-report=html")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NOT written, *a.json: *", "report: *pan-report.html"])


def test_two_reports_cannot_go_to_one_place(ready: pytest.Pytester) -> None:
    result = ready.runpytest("--pan-audit", "--pan-report=json:x", "--pan-report=html:x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pan-report=html:x: another report has the same dest*"])


@pytest.mark.parametrize("options", [("--collect-only",), ("-k", "nothing"), ("--fixtures",)])
def test_a_run_without_audits_leaves_the_old_report_alone(
    ready: pytest.Pytester, options: tuple[str, ...]
) -> None:
    (ready.path / "pan-report.html").write_text("old")
    result = ready.runpytest("--pan-audit", "--pan-report=html", *options)
    assert (ready.path / "pan-report.html").read_text() == "old"
    result.stdout.no_fnmatch_line("*= padding audit =*")


def test_a_report_goes_through_a_link_and_into_a_pipe(ready: pytest.Pytester) -> None:
    (ready.path / "link.html").symlink_to("target.html")
    ready.runpytest("--pan-audit", "--pan-report=html:link.html", "--pan-report=json:/dev/null")
    assert (ready.path / "link.html").is_symlink()
    assert (ready.path / "target.html").stat().st_size > 1000
    assert not Path("/dev/null").is_file()


def test_paths_as_arguments_work(ready: pytest.Pytester) -> None:
    """Not as text, which pytester makes of its arguments."""
    test = next(ready.path.glob("test_*.py"))
    options = [f"--rootdir={ready.path}", "--pan-audit", "--pan-report=html"]
    assert pytest.main([test, *options]) == pytest.ExitCode.OK
    assert (ready.path / "pan-report.html").exists()


def test_pytests_native_toml_section_takes_numbers(ready: pytest.Pytester) -> None:
    ready.makepyprojecttoml(
        """
        [tool.pytest]
        pan_audit = true
        pan_report = ["json"]
        pan_theta = 0.25
        pan_batch_size = 5
        """
    )
    ready.runpytest().assert_outcomes(passed=1)
    assert (settings(ready.path)["theta"], settings(ready.path)["batch_size"]) == (0.25, 5)


def test_the_help_lists_every_option(ready: pytest.Pytester) -> None:
    result = ready.runpytest("--help")
    flags = ("audit", "report=TYPE*", "device=*", "batch-size=*", "theta=*", "seed=*")
    for flag in flags:
        result.stdout.fnmatch_lines([f"*--pan-{flag}*"])


def test_inactive_or_only_collecting_it_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert not {"torch", "numpy", "scipy", "jinja2"} & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1)


def test_a_run_that_asks_for_no_audit_loads_next_to_nothing_of_the_package(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyprojecttoml('[project]\nname = "a"\ndependencies = ["pytest-pan", "pandas"]')
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.partition(".")[0] == "pytest_pan"}
            modules = "records records.errors records.text plugin plugin.options config"
            allowed = [*modules.split(), "config.options"]
            assert ours == {"pytest_pan", *(f"pytest_pan.{name}" for name in allowed)}
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_collecting_under_the_option_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure(config):
            print("heavy:", sorted({"torch", "numpy", "scipy", "jinja2"} & set(sys.modules)))
        """
    )
    result = pytester.runpytest_subprocess("--collect-only", "--pan-audit", "-s")
    result.stdout.fnmatch_lines(["heavy: []"])


def test_there_is_one_report_with_all_audits(ready: pytest.Pytester) -> None:
    ready.makepyfile(
        test_two="""
        import pytest

        @pytest.mark.pan(max_pan_count=1)
        def test_strict(): ...

        def test_other(pan, pan_model, pan_images):
            pan(pan_model, pan_images, theta=0.9, name="other")
        """
    )
    result = ready.runpytest("--pan-audit", "--pan-report=json")
    result.assert_outcomes(passed=2, failed=1)
    audits = json.loads((ready.path / "pan-report.json").read_text())["audits"]
    assert sorted(audit["model"]["name"] for audit in audits) == ["Conv2d", "other"]
    verdicts = [v["outcome"] for audit in audits for v in audit["verdicts"]]
    assert sorted(verdicts) == ["fail", "pass"]
    assert str(result.stdout).count("= padding audit =") == 1


def test_a_wrong_marker_under_xdist_is_refused_too(repo: pytest.Pytester) -> None:
    repo.makepyfile(TEST.replace("max_pan_fraction", "max_pan_fracton"))
    result = repo.runpytest("--pan-audit", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *unknown limit 'max_pan_fracton'*"])
