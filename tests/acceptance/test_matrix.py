"""Every option acts, and the same audit comes out wherever pytest runs it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import declare

TEST = """
import pytest

@pytest.mark.pan(max_pan_count=15)
def test_holds(): ...

@pytest.mark.pan(max_pan_fraction=0.03)
def test_fails(): ...
"""

CLASSIFIER = """torch.nn.Sequential(
    fifteen_types(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())"""

Check = Callable[[Mapping[str, Any], Path], object]


def of(setting: str, value: object) -> Check:
    return lambda audit, _: audit["settings"][setting] == value


def swapped(mode: str) -> Check:
    return lambda audit, _: {i["plan"]["mode"] for i in audit["influence"]} >= {mode}


def drawn(number: int) -> Check:
    return lambda audit, _: sum(i["plan"]["seed"] is not None for i in audit["influence"]) == number


ACTS: Mapping[str, tuple[tuple[str, ...], Check]] = {
    "--pan-audit": ((), lambda audit, _: audit["measures"]["pan_count"]["value"] == 15),
    "--pan-report": (("--pan-report=markdown:a.md",), lambda _, at: (at / "a.md").is_file()),
    "--pan-limit": (
        ("--pan-limit=max_pan_count=99",),
        lambda audit, _: 99 in [v["limit"]["bound"] for v in audit["verdicts"]],
    ),
    "--pan-suggest": (("--pan-suggest",), lambda audit, _: audit["influence"]),
    "--pan-baseline": (("--pan-baseline=b",), lambda audit, _: audit["baseline"]["missing"]),
    "--pan-update-baseline": (
        ("--pan-baseline=b", "--pan-update-baseline"),
        lambda _, at: len(list((at / "b").iterdir())) == 1,
    ),
    "--pan-no-cache": (("--pan-no-cache",), lambda _, at: not list(at.rglob("*.npz"))),
    "--pan-device": (("--pan-device=cpu",), of("device", "cpu")),
    "--pan-precision": (("--pan-precision=bfloat16",), of("precision", "bfloat16")),
    "--pan-batch-size": (("--pan-batch-size=7",), of("batch_size", 7)),
    "--pan-workers": (("--pan-workers=0",), of("workers", 0)),
    "--pan-theta": (("--pan-theta=0.25",), of("theta", 0.25)),
    "--pan-seed": (("--pan-seed=5",), of("seed", 5)),
    "--pan-probes": (
        ("--pan-probes=intrusion", "--pan-draws=0"),
        lambda audit, _: audit["findings"]["intrusion"],
    ),
    "--pan-mode": (("--pan-probes=influence", "--pan-mode=replicate"), swapped("replicate")),
    "--pan-draws": (("--pan-probes=influence", "--pan-draws=2"), drawn(2)),
}
"""Of each option how it is given, and what of it must be seen in the audit or on disk."""

ELSEWHERE = {"--pan-inconclusive"}
"""What shows in the last line and in the exit code: test_inconclusive.py."""


@pytest.fixture
def ready(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makepyfile(TEST)
    return repo


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "pan-report.json").read_text())
    return found


def test_no_option_is_left_out_here(ready: pytest.Pytester) -> None:
    listed = set(re.findall(r"^ *(--pan-[a-z-]+)", str(ready.runpytest("--help").stdout), re.M))
    assert listed == {*ACTS, *ELSEWHERE}


@pytest.mark.parametrize("option", ACTS)
def test_each_option_is_accepted_and_acts(ready: pytest.Pytester, option: str) -> None:
    declare(ready, model=CLASSIFIER)
    arguments, check = ACTS[option]
    result = ready.runpytest("--pan-audit", "--pan-report=json", *arguments)
    assert result.parseoutcomes()["passed"] == 1
    (audit,) = report(ready.path)["audits"]
    assert check(audit, ready.path)


PLACES: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "xdist off": (("-n", "0"), {}),
    "xdist blocked": (("-p", "no:xdist"), {}),
    "no other plugin": (("-p", "pytest_pan.plugin"), {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
    "warnings are errors": (("-W", "error"), {}),
    "no terminal": (("-p", "no:terminal"), {}),
    "strict": (("--strict-markers", "--strict-config"), {}),
    "no cache": (("-p", "no:cacheprovider"), {}),
    "no capturing": (("-s",), {}),
    "no assertion rewriting": (("--assert=plain",), {}),
    "importlib": (("--import-mode=importlib",), {}),
    "GPUs hidden": ((), {"CUDA_VISIBLE_DEVICES": ""}),
    "optimised": ((), {"PYTHONOPTIMIZE": "1"}),
    "CI": ((), {"CI": "true", "NO_COLOR": "1", "TERM": "dumb"}),
}
"""Under xdist: test_xdist.py and test_workers.py."""


OF_THEIR_OWN = ("warnings are errors", "no assertion rewriting", "GPUs hidden", "optimised")
"""Those that need a process: they are about imports, or about what Python or CUDA reads once."""


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_everywhere_the_same_figures_and_verdicts_come_out(
    ready: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    arguments, variables = PLACES[place]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run = ready.runpytest_subprocess if place in OF_THEIR_OWN else ready.runpytest_inprocess
    types = ("json", "html", "markdown")
    result = run("--pan-audit", *(f"--pan-report={kind}" for kind in types), *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    if place != "no terminal":
        result.assert_outcomes(passed=1, failed=1)
    found = report(ready.path)
    (audit,) = found["audits"]
    assert (audit["measures"]["pan_count"]["value"], audit["partial"]) == (15, "")
    assert {v["limit"]["measure"]: v["outcome"] for v in audit["verdicts"]} == {
        "pan_count": "pass",
        "pan_fraction": "fail",
    }
    assert (found["partial"], found["ran"]["had"]) == ("", 2)
    assert (ready.path / "pan-report.html").is_file()
    assert (ready.path / "pan-report.md").is_file()


def test_it_works_where_xdist_is_not_installed(ready: pytest.Pytester) -> None:
    ready.makepyfile(
        without="""
        import importlib.metadata as metadata, sys

        class Hidden:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("xdist", "execnet"):
                    raise ModuleNotFoundError(f"No module named {name!r}")

        sys.meta_path.insert(0, Hidden())
        every = metadata.distributions
        metadata.distributions = lambda **how: (
            found for found in every(**how) if found.name != "pytest-xdist"
        )
        import pytest
        sys.exit(pytest.main(sys.argv[1:]))
        """
    )
    arguments = ("--pan-audit", "--pan-report=json")
    result = ready.run(sys.executable, "without.py", *arguments)
    result.assert_outcomes(passed=1, failed=1)
    (plugins,) = re.findall(r"^plugins: (.*)$", str(result.stdout), re.M)
    assert "pan-" in plugins
    assert "xdist" not in plugins
    assert report(ready.path)["ran"]["had"] == 2
    assert ready.run(sys.executable, "without.py", "-n", "2").ret == pytest.ExitCode.USAGE_ERROR


def test_only_collecting_lists_the_tests_and_audits_nothing(ready: pytest.Pytester) -> None:
    options = ("--pan-baseline=b", "--pan-update-baseline", "--pan-report=json")
    result = ready.runpytest("--pan-audit", "--collect-only", "-q", *options)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*::test_holds", "*::test_fails", "2 tests collected*"])
    assert not (ready.path / "pan-report.json").exists()
    assert not (ready.path / "b").exists()


def test_a_gpu_that_is_hidden_is_refused_by_name(
    ready: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    result = ready.runpytest_subprocess("--pan-audit", "--pan-device=cuda")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pan-device: device, got 'cuda'; allowed: auto, cpu"])
