"""Baselines: written, compared with, limits relative to them, and never lost.

Longer than 350 lines: one feature, whose tests share one repository.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import declare

TEST = """
import pytest

@pytest.mark.pan({limits})
def test_padding(): ...
"""

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def ready(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makepyfile(TEST.format(limits="max_pan_count='baseline+1'"))
    return repo


@pytest.fixture
def based(ready: pytest.Pytester) -> pytest.Pytester:
    """A repo with a baseline of its audit: 15 PANs among 15 neurons."""
    ready.runpytest("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    return ready


def the_file(repo: pytest.Pytester) -> Path:
    (path,) = (repo.path / "bases").iterdir()
    return path


def edit(repo: pytest.Pytester, change: Edit) -> None:
    """Makes the baseline one of an audit that found something else."""
    body = json.loads(the_file(repo).read_text())
    change(body)
    the_file(repo).write_text(json.dumps(body))


def with_pans(count: int) -> Edit:
    return lambda body: body["measures"]["pan_count"].update(value=count, interval=[count, count])


def test_an_update_writes_one_file_a_model_and_says_so(ready: pytest.Pytester) -> None:
    result = ready.runpytest("--pan-audit", "--pan-baseline=a/bases", "--pan-update-baseline")
    result.assert_outcomes(passed=1)
    (path,) = (ready.path / "a" / "bases").iterdir()
    result.stdout.fnmatch_lines(
        [
            "pan: 0 baselines in a/bases, to be updated",
            f"  baseline a/bases/{path.name}: no baseline yet; written",
        ]
    )
    body = json.loads(path.read_text())
    assert body["schema"] == "pytest-pan-baseline/1"
    assert body["model"]["name"] == "Conv2d"
    assert body["measures"]["pan_count"]["value"] == 15


def test_an_unchanged_audit_rewrites_its_file_byte_by_byte(based: pytest.Pytester) -> None:
    before = the_file(based).read_bytes()
    result = based.runpytest("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    result.stdout.fnmatch_lines(["*: 8 same; unchanged"])
    assert the_file(based).read_bytes() == before
    the_file(based).unlink()
    based.runpytest("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    assert the_file(based).read_bytes() == before


def test_a_limit_relative_to_the_baseline_fails_beyond_it_and_says_why(
    based: pytest.Pytester,
) -> None:
    edit(based, with_pans(13))
    result = based.runpytest("--pan-audit", "--pan-baseline=bases")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "Conv2d: pan_count 15 is above max_pan_count = 14 (*: baseline+1, 13 in bases/*",
            "  changed since the baseline: nothing recorded: weights, images, settings*",
            "  baseline bases/Conv2d-*.json: 1 worse, 7 same",
            "    worse pan_count 13 -> 15 (+2)",
        ]
    )


def test_an_improvement_passes_and_suggests_the_update(based: pytest.Pytester) -> None:
    edit(based, with_pans(16))
    result = based.runpytest("--pan-audit", "--pan-baseline=bases")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "    better pan_count 16 -> 15 (-1)",
            "    better than the baseline: pytest --pan-audit --pan-baseline=bases "
            "--pan-update-baseline records it",
            "  PASS pan_count 15 (max 17)  marker of *: baseline+1, 16 in bases/Conv2d-*",
        ]
    )


def test_without_a_relative_limit_a_regression_is_told_and_nothing_fails(
    based: pytest.Pytester,
) -> None:
    based.makepyfile(TEST.format(limits="max_pan_count=15"))
    edit(based, with_pans(1))
    result = based.runpytest("--pan-audit", "--pan-baseline=bases")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["    worse pan_count 1 -> 15 (+14)"])


def other_weights(repo: pytest.Pytester) -> None:
    declare(repo, model="conv(2 * torch.stack([missing(t) for t in __import__('nets').PAN_TYPES]))")


def other_images(repo: pytest.Pytester) -> None:
    declare(repo, images="bright_images(count=60, size=10, seed=1)")


def other_torch(repo: pytest.Pytester) -> None:
    edit(repo, lambda body: body["environment"].update(torch="1.0"))


def other_device(repo: pytest.Pytester) -> None:
    edit(repo, lambda body: body["environment"].update(device="a typewriter"))


@pytest.mark.parametrize(
    ("change", "option", "reason"),
    [
        (other_weights, "", "weights: digest *"),
        (other_images, "", "images: digest *"),
        (None, "--pan-theta=0.45", "settings: theta 0.5 -> 0.45"),
        (other_torch, "", "versions: torch 1.0 -> *"),
        (other_device, "", "hardware: device a typewriter -> cpu*"),
        (None, "", "nothing recorded: *"),
    ],
)
def test_a_failure_tells_which_of_all_things_has_changed(
    based: pytest.Pytester,
    change: Callable[[pytest.Pytester], None] | None,
    option: str,
    reason: str,
) -> None:
    edit(based, with_pans(13))
    if change:
        change(based)
    result = based.runpytest("--pan-audit", "--pan-baseline=bases", *filter(None, [option]))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"  changed since the baseline: {reason}"])
    assert str(result.stdout).count("changed since: ") == 1


def test_all_reports_have_the_comparison(based: pytest.Pytester) -> None:
    edit(based, with_pans(13))
    types = ("json", "html", "markdown")
    based.runpytest("--pan-audit", "--pan-baseline=bases", *(f"--pan-report={t}" for t in types))
    (audit,) = json.loads((based.path / "pan-report.json").read_text())["audits"]
    rows = {row["measure"]: row for row in audit["baseline"]["rows"]}
    assert (rows["pan_count"]["before"], rows["pan_count"]["change"]) == (13, "worse")
    assert audit["verdicts"][0]["limit"]["relative"] == "baseline+1"
    for name in ("pan-report.html", "pan-report.md"):
        page = (based.path / name).read_text()
        assert "1 worse, 7 same" in page
        assert "worse pan_count 13 -" in page


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ("[tool.pan]\nbaseline = 'bases'\nlimits = { max_pan_count = 'baseline' }", "table"),
        (
            "[tool.pan]\nbaseline = 'bases'\nlimits = { max_pan_count = { '*' = 'baseline' } }",
            "table",
        ),
        ("[tool.pytest.ini_options]\npan_baseline = 'bases'", "option"),
    ],
)
def test_folder_and_limit_stand_in_the_files_as_well_and_the_folder_is_the_rootdir_s(
    based: pytest.Pytester, limits: str, where: str
) -> None:
    based.makepyfile(TEST.format(limits=""))
    based.makepyprojecttoml(limits)
    option = ["--pan-limit=max_pan_count=baseline"] if where == "option" else []
    edit(based, with_pans(14))
    edit(based, lambda body: body["measures"]["pan_count"].update(sites={"(model)": 14}))
    sub = based.mkdir("sub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sub)
        result = based.runpytest("--pan-audit", *option, "..", f"--rootdir={based.path}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*is above max_pan_count* = 14 (*: baseline, 14 in bases/*"])


def test_a_missing_baseline_fails_the_limit_and_an_update_writes_it(
    ready: pytest.Pytester,
) -> None:
    result = ready.runpytest("--pan-audit", "--pan-baseline=bases")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "  baseline+1: no baseline bases/Conv2d-*.json yet; "
            "pytest --pan-audit --pan-baseline=bases --pan-update-baseline writes it"
        ]
    )
    assert not (ready.path / "bases").exists()
    ready.runpytest("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    ready.runpytest("--pan-audit", "--pan-baseline=bases").assert_outcomes(passed=1)


TWO = """
import pytest

def test_first(pan, pan_model, pan_images):
    pan(pan_model, pan_images, name="first")

def test_second(pan, pan_model, pan_images):
    {before}
    pan(pan_model, pan_images, name="second", theta=0.4)
"""


@pytest.mark.parametrize(
    ("before", "options"),
    [
        ("", ("-k", "first")),
        ("pytest.exit('enough')", ()),
        ("raise ValueError", ()),
        ("pan_model = __import__('torch').nn.Linear(2, 2)", ()),
        ("__import__('os')._exit(1)", ("-n", "1", "--max-worker-restart=0")),
    ],
)
def test_an_update_by_a_run_that_did_not_make_all_audits_leaves_the_others_files(
    repo: pytest.Pytester, before: str, options: tuple[str, ...]
) -> None:
    repo.makepyfile(TWO.format(before="pass"))
    update = ("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    repo.runpytest(*update)
    files = {path.name: path.read_bytes() for path in (repo.path / "bases").iterdir()}
    assert sorted(files) == ["first.json", "second.json"]
    other_weights(repo)
    repo.makepyfile(TWO.format(before=before or "pass"))
    repo.runpytest(*update, *options)
    now = {path.name: path.read_bytes() for path in (repo.path / "bases").iterdir()}
    assert sorted(now) == sorted(files)
    assert now["second.json"] == files["second.json"]
    assert now["first.json"] != files["first.json"]


def test_a_run_without_the_option_writes_nothing(based: pytest.Pytester) -> None:
    before = the_file(based).read_bytes()
    other_images(based)
    based.runpytest("--pan-audit", "--pan-baseline=bases")
    based.runpytest(
        "--pan-audit", "--pan-baseline=bases", "--pan-update-baseline", "--collect-only"
    )
    assert the_file(based).read_bytes() == before


def test_killed_while_it_writes_the_old_file_stays_whole(based: pytest.Pytester) -> None:
    before = the_file(based).read_bytes()
    other_weights(based)
    conftest = based.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport os, pathlib, signal\n"
        + "def killed(self, target): os.kill(os.getpid(), signal.SIGKILL)\n"
        + "pathlib.Path.replace = killed\n"
    )
    result = based.runpytest_subprocess(
        "--pan-audit", "--pan-baseline=bases", "--pan-update-baseline"
    )
    assert result.ret == -signal.SIGKILL
    kept, *_ = sorted((based.path / "bases").glob("[!.]*"))
    assert kept.read_bytes() == before
    declare(based)
    based.runpytest("--pan-audit", "--pan-baseline=bases").assert_outcomes(passed=1)


def test_a_file_that_cannot_be_written_is_an_error_of_the_run(
    based: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).parent.name == "bases":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    other_weights(based)
    before = the_file(based).read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    result = based.runpytest("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: bases/*: NOT written: OSError: *No space left*"])
    assert the_file(based).read_bytes() == before


SCALED = """
import nets, pytest

@pytest.fixture(params=[1, 2], scope="session")
def scale(request):
    return request.param

@pytest.fixture(scope="session")
def pan_model(scale):
    model = nets.fifteen_types()
    model.weight.data *= scale
    return model

@pytest.mark.pan(max_pan_count=20)
def test_padding(): ...
"""
NAMED = """
@pytest.fixture(scope="session")
def pan_name(scale):
    return f"times-{scale}"
"""


def test_two_audits_of_one_name_are_an_error_and_pan_name_tells_them_apart(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(SCALED + NAMED.replace('f"times-{scale}"', '"net"'))
    update = ("--pan-audit", "--pan-baseline=bases", "--pan-update-baseline")
    result = repo.runpytest(*update)
    result.assert_outcomes(passed=2, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: net: 2 audits of this run have this name*"])
    repo.makepyfile(SCALED + NAMED)
    repo.runpytest(*update).assert_outcomes(passed=2)
    names = sorted(path.name for path in (repo.path / "bases").iterdir())
    assert names == ["times-1.json", "times-2.json"]


def spoil(repo: pytest.Pytester) -> None:
    repo.mkdir("bases")
    (repo.path / "bases" / "net.json").write_text("{")


@pytest.mark.parametrize(
    ("options", "prepare", "message"),
    [
        (
            ("--pan-baseline=bases",),
            spoil,
            "--pan-baseline: bases/net.json: baseline, got invalid JSON (*); allowed: JSON. R*",
        ),
        (
            ("--pan-baseline=bases", "--pan-update-baseline"),
            spoil,
            "--pan-baseline: bases/net.json: baseline, got invalid JSON (*",
        ),
        (
            ("--pan-baseline=bases",),
            lambda repo: (repo.path / "bases").write_text(""),
            "--pan-baseline: baselines, got bases, which is a file; allowed: a directory",
        ),
        (
            ("--pan-update-baseline",),
            None,
            "--pan-update-baseline: no directory to write to; allowed: with --pan-baseline=DIR*",
        ),
        (("--pan-baseline=",), None, "--pan-baseline: baselines, got ''; allowed: a directory"),
        (
            (),
            lambda repo: repo.makepyprojecttoml("[tool.pan]\nbaseline = 3"),
            "pyproject.toml [[]tool.pan[]]: baseline, got 3; allowed: a directory",
        ),
        (
            (),
            None,
            "marker of *: bound of max_pan_count, got 'baseline+1'; allowed: a number, as this "
            "run has no baselines. Set their directory: --pan-baseline=DIR, *",
        ),
        (
            ("--pan-baseline=bases", "--pan-limit=max_pan_count=base"),
            None,
            "--pan-limit=max_pan_count=base: bound of max_pan_count, got 'base'; allowed: a nu*",
        ),
    ],
)
def test_wrong_configuration_is_refused_with_exit_code_4(
    ready: pytest.Pytester,
    options: tuple[str, ...],
    prepare: Callable[[pytest.Pytester], object] | None,
    message: str,
) -> None:
    if prepare:
        prepare(ready)
    result = ready.runpytest("--pan-audit", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_an_update_without_the_audit_is_refused(ready: pytest.Pytester) -> None:
    result = ready.runpytest("--pan-baseline=bases", "--pan-update-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pan-update-baseline: audits are off, *"])
