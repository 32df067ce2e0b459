"""Models that pyproject.toml declares, audited without a line of test code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

HERE = """
import torch, nets

CLASSES = [f"class {i}" for i in range(15)]
GROUPS = [i // 3 for i in range(60)]

def net(scale=1.0):
    made.append(scale)
    return nets.fifteen_types()

made = []

def images(): return nets.bright_images(count=60, size=10)

def broken(): raise FileNotFoundError("weights.pt")
"""

NET = """
[tool.pan.models.net]
model = "here:net"
images = "here:images"
limits = { max_pan_count = 15, max_pan_fraction = 0.03 }
"""


@pytest.fixture
def bare(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repo without a test file, with functions that give a model and images."""
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", str(tests))
    monkeypatch.syspath_prepend(tests)
    monkeypatch.delitem(__import__("sys").modules, "here", raising=False)
    pytester.makepyfile(here=HERE)
    pytester.makepyprojecttoml(NET)
    return pytester


def audits(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "pan-report.json").read_text())["audits"]
    return found


def test_a_declared_model_is_a_test_for_each_of_its_limits(bare: pytest.Pytester) -> None:
    result = bare.runpytest("--pan-audit", "-v")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*collected 2 items", "pan::net::max_pan_count*PASSED*", "pan::net::max_pan_fract*FAILED*"]
    )


def test_it_fails_as_a_marker_does_and_says_where_the_limit_stands(bare: pytest.Pytester) -> None:
    result = bare.runpytest("--pan-audit")
    result.stdout.fnmatch_lines(
        [
            "net: pan_fraction 100.00 % is above max_pan_fraction = 3.00 % "
            "(pyproject.toml [[]tool.pan.models.net[]])",
            "  15 of 15 neurons in 1 layer are padding aware, on 60 images at theta 0.5",
            "  (model): 100.00 %",
            "FAILED pan::net::max_pan_fraction - *",
        ]
    )


def test_without_the_option_they_are_skipped_and_say_how_to_turn_them_on(
    bare: pytest.Pytester,
) -> None:
    result = bare.runpytest("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        ["SKIPPED [[]2[]] pyproject.toml*: the padding audit is off: run pytest --pan-audit*"]
    )


def test_they_are_in_junit_and_in_one_report(bare: pytest.Pytester) -> None:
    result = bare.runpytest("--pan-audit", "--pan-report=json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=1)
    (audit,) = audits(bare.path)
    assert audit["model"]["name"] == "net"
    assert sorted(v["outcome"] for v in audit["verdicts"]) == ["fail", "pass"]
    cases = {c.get("name"): c for c in ElementTree.parse("junit.xml").iter("testcase")}  # noqa: S314
    assert set(cases) == {"max_pan_count", "max_pan_fraction"}
    case = cases["max_pan_fraction"]
    assert case.get("classname") == "pan.net"
    assert case.find("failure") is not None
    values = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert values == {
        "max_pan_fraction": "1.0",
        "max_pan_fraction.bound": "0.03",
        "max_pan_fraction.outcome": "fail",
        "max_pan_fraction.interval": "1 to 1",
    }


@pytest.mark.parametrize(
    ("arguments", "passed", "failed"),
    [
        (("-k", "max_pan_count"), 1, 0),
        (("-k", "net"), 1, 1),
        (("-m", "pan"), 1, 1),
        (("-m", "not pan"), 1, 0),
        (("pan::net",), 1, 1),
        (("pan::net::max_pan_count",), 1, 0),
        (("pan::net::max_pan_count", "test_own.py"), 2, 0),
        (("pan::net::max_pan_fraction",), 0, 1),
        (("test_own.py",), 1, 0),
        ((".",), 2, 1),
    ],
)
def test_they_are_chosen_as_other_tests_are_and_left_out_where_files_are_named(
    bare: pytest.Pytester, arguments: tuple[str, ...], passed: int, failed: int
) -> None:
    bare.makepyfile(test_own="def test_a(pan): ...")
    bare.makeini("[pytest]\npan_audit = true\n")
    result = bare.runpytest(*arguments)
    found = result.parseoutcomes()
    assert (found.get("passed", 0), found.get("failed", 0)) == (passed, failed)


def test_an_id_that_no_declared_model_has_is_refused_with_the_nearest(
    bare: pytest.Pytester,
) -> None:
    result = bare.runpytest("--pan-audit", "pan::nett::max_pan_count")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*not found: pan::nett::max_pan_count; *Did you mean 'pan::net::max_pan_count'?*"]
    )


def test_the_model_is_made_and_audited_once_for_all_its_limits(bare: pytest.Pytester) -> None:
    bare.makeconftest(
        """
        def pytest_unconfigure(config):
            import here
            print("made:", here.made)
        """
    )
    bare.makepyprojecttoml(NET + "arguments = { scale = 2.5 }\n")
    bare.runpytest("--pan-audit", "-s").stdout.fnmatch_lines(["made: [[]2.5[]]"])


def test_what_a_model_declares_reaches_its_audit_and_the_command_line_wins(
    bare: pytest.Pytester,
) -> None:
    bare.makepyprojecttoml(
        "[tool.pan]\nseed = 7\ndraws = 0\n"
        + NET.replace("0.03", "1")
        + 'theta = 0.75\nbatch_size = 5\nclasses = "here:CLASSES"\nprobes = ["influence"]\n'
    )
    bare.runpytest("--pan-audit", "--pan-report=json", "--pan-theta=0.25").assert_outcomes(passed=2)
    (audit,) = audits(bare.path)
    settings = {key: audit["settings"][key] for key in ("theta", "batch_size", "seed", "draws")}
    assert settings == {"theta": 0.25, "batch_size": 5, "seed": 7, "draws": 0}
    assert audit["settings"]["probes"] == ["pans", "influence", "uneven", "foveation"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so cuda is no mistake")
def test_a_device_of_a_model_that_the_command_line_overrules_need_not_be_there(
    bare: pytest.Pytester,
) -> None:
    bare.makepyprojecttoml(NET.replace(", max_pan_fraction = 0.03", "") + 'device = "cuda"')
    assert bare.runpytest("--pan-audit").ret == pytest.ExitCode.USAGE_ERROR
    bare.runpytest("--pan-audit", "--pan-device=cpu").assert_outcomes(passed=1)
    bare.makepyfile(test_own="def test_a(): ...")
    left_out = bare.runpytest("--pan-audit", "test_own.py")
    left_out.assert_outcomes(passed=1, errors=1)  # nothing was audited, but nothing is set wrong


def test_a_folder_of_images_lies_beside_the_file_wherever_pytest_runs(
    bare: pytest.Pytester,
) -> None:
    from PIL import Image

    folder = bare.mkdir("photos")
    for number in range(50):
        Image.new("L", (12, 12), 100 + number).save(folder / f"{number}.png")
    bare.makepyfile(
        here2="""
        import torch, torchvision.transforms.functional as f
        def small(image): return f.to_tensor(image)
        def net(): return torch.nn.Conv2d(3, 2, 3, padding=1)
        """
    )
    bare.makepyprojecttoml(
        """
        [tool.pan.models.net]
        model = "here2:net"
        images = "photos"
        transform = "here2:small"
        limits = { max_pan_fraction = 1 }
        """
    )
    sub = bare.mkdir("sub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sub)
        result = bare.runpytest("--pan-audit", f"--rootdir={bare.path}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["net: *in 1 layer, 50 images*"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("here:net", "here:broken"),
            "model 'here:broken' with {}: FileNotFoundError: weights.pt*",
        ),
        (("here:net", "nowhere:net"), "*ModuleNotFoundError: No module named 'nowhere'*"),
        (("here:images", "here:image"), "net: images 'here:image': AttributeError*"),
        (("here:images", "no/such/folder"), "images: no such folder, got *no/such/folder*"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_an_error_of_its_items(
    bare: pytest.Pytester, change: tuple[str, str], message: str
) -> None:
    bare.makepyprojecttoml(NET.replace(*change))
    result = bare.runpytest("--pan-audit")
    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([message])


@pytest.mark.parametrize("options", [(), ("--pan-audit",), ("--pan-audit", "-n", "2")])
def test_a_wrong_declaration_ends_the_run_with_exit_code_4(
    bare: pytest.Pytester, options: tuple[str, ...]
) -> None:
    bare.makepyprojecttoml(NET.replace("max_pan_count", "max_pan_cont"))
    result = bare.runpytest(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: pyproject.toml [[]tool.pan.models.net[]]: unknown limit 'max_pan_cont', "
            "got 15; allowed: *Did you mean 'max_pan_count'?"
        ]
    )


def test_a_setting_in_the_ini_file_and_in_the_table_is_refused(bare: pytest.Pytester) -> None:
    bare.makepyprojecttoml("[tool.pan]\ntheta = 0.25\n" + NET)
    bare.makeini("[pytest]\npan_theta = 0.5\n")
    result = bare.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pan_theta in tox.ini, got 0.5, and theta in pyproject.toml*"])


def test_collecting_declared_models_imports_nothing_heavy(bare: pytest.Pytester) -> None:
    bare.makeconftest(
        """
        import sys

        def pytest_unconfigure(config):
            print("heavy:", sorted({"torch", "numpy", "scipy", "jinja2"} & set(sys.modules)))
        """
    )
    result = bare.runpytest_subprocess("--collect-only", "--pan-audit", "-s")
    result.stdout.fnmatch_lines(["*DeclaredLimit max_pan_count*", "heavy: []"])


def test_groups_of_images_are_counted_and_a_wrong_number_is_refused(bare: pytest.Pytester) -> None:
    bare.makepyprojecttoml(NET + 'groups = "here:GROUPS"\n')
    bare.runpytest("--pan-audit", "--pan-report=json")
    assert audits(bare.path)[0]["images"]["groups"] == 20
    bare.makepyprojecttoml(NET + 'groups = "here:CLASSES"\n')
    result = bare.runpytest("--pan-audit")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*groups of the images, got 15 labels for 60 images*"])


@pytest.mark.parametrize("groups", ["3", '""'])
def test_groups_are_a_text(bare: pytest.Pytester, groups: str) -> None:
    bare.makepyprojecttoml(NET + f"groups = {groups}\n")
    result = bare.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*groups*allowed: 'module:attribute', or a regular expression*"])
