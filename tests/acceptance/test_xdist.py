"""What reaches the controller from xdist's workers: two runs with many situations, read by many
tests. test_workers.py has what needs a run of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import CONFTEST, COUNTED, Once

pytestmark = pytest.mark.slow
pytest.importorskip("xdist")

BASED = """
import pytest

@pytest.fixture(scope="session")
def pan_name(): return "{name}"

@pytest.mark.pan(max_pan_count="baseline+1")
def test_based(): ...
"""
UNSURE = """
import pytest, torch
from nets import bright_images, striped_images

@pytest.fixture(scope="session")
def pan_images():  # of four of them it hangs whether six neurons are PANs, or none, or fifteen
    return torch.cat([bright_images(56), striped_images(4)])

@pytest.fixture(scope="session")
def pan_name(): return "unsure"

@pytest.mark.pan(max_pan_count=10)
def test_unsure(): ...

@pytest.mark.pan(max_pan_count=15)
def test_sure(): ...
"""
BY_HAND = """
import pytest

def test_by_hand(pan_audit):
    assert pan_audit.pan_fraction <= 0.03

def test_without_an_audit(): assert False

def test_no_model(pan, pan_images): pan("nowhere:model", pan_images)

@pytest.mark.pan(max_pan_count=1)
def test_strict(): ...

@pytest.mark.skip
@pytest.mark.pan(max_pan_count=1)
def test_skipped(): ...

def test_deselected(pan_audit): ...

def test_factory(pan, pan_model, pan_images):
    pan(pan_model, pan_images, theta=0.9, name="other")
"""
SERVED = """
import pytest

@pytest.fixture(scope="module", params=["audited", "not"])
def student(request, pan, pan_model, pan_images):
    return pan(pan_model, pan_images).pan_count if request.param == "audited" else 15

def test_first(student): assert student == 15
def test_second(student): assert student == 15
def test_none(pan): ...

@pytest.mark.xfail(reason="known")
def test_known(pan_audit): assert pan_audit.pan_count == 0
"""
DECLARED = """
[tool.pan.models.net]
model = "nets:fifteen_types"
images = "here:images"
limits = { max_pan_count = 15, max_pan_fraction = 0.03 }
"""

FILES = {
    "conftest.py": CONFTEST.format(model="fifteen_types()", images="bright_images(60, size=10)")
    + COUNTED,
    "here.py": "import nets\ndef images(): return nets.bright_images(count=60, size=10)\n",
    "test_worse.py": BASED.format(name="worse"),
    "test_better.py": BASED.format(name="better"),
    "test_unsure.py": UNSURE,
    "test_by_hand.py": BY_HAND,
    "test_served.py": SERVED,
    "pyproject.toml": DECLARED,
}
AUDITS = {
    "Conv2d": ["fail"],
    "better": ["pass"],
    "net": ["fail", "pass"],
    "other": [],
    "unsure": ["inconclusive", "pass"],
    "worse": ["fail"],
}
"""The names of all audits, and the outcomes of their limits."""
REPORTS = ("html", "json", "markdown-append:out.md")


@dataclass(frozen=True)
class Run:
    """A finished run of pytest."""

    folder: Path
    code: int
    text: str

    @property
    def lines(self) -> pytest.LineMatcher:
        return pytest.LineMatcher(self.text.splitlines())

    @property
    def counts(self) -> Mapping[str, int]:
        return pytest.RunResult.parse_summary_nouns(self.text.splitlines())

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "pan-report.json").read_text())
        return found


def run(folder: Path, name: str, *options: str) -> None:
    """Runs pytest under xdist, and leaves its exit code and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--pan-audit", "-n", "2", "--dist=loadfile", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    (folder / f"{name}.txt").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")


def fill(folder: Path) -> None:
    """A run that writes baselines and one that has all that can go wrong beside what passes."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    chosen = ("test_worse.py", "test_better.py", "test_unsure.py", "pan::net::max_pan_count")
    run(folder, "update", "--pan-baseline=bases", "--pan-update-baseline", *chosen)
    for name, count in (("worse", 13), ("better", 16)):
        path = folder / "bases" / f"{name}.json"
        body = json.loads(path.read_text())
        body["measures"]["pan_count"].update(value=count, interval=[count, count])
        path.write_text(json.dumps(body))
    reports = [f"--pan-report={report}" for report in REPORTS]
    options = ("--pan-inconclusive=fail", "--junitxml=junit.xml", "--pan-baseline=bases", "-v")
    run(folder, "everything", *options, *reports, "-k", "not deselected")


def finished(once: Once, name: str) -> Run:
    folder = once("xdist", fill)
    code, _, text = (folder / f"{name}.txt").read_text().partition("\n")
    return Run(folder, int(code), text)


@pytest.fixture
def update(once: Once) -> Run:
    return finished(once, "update")


@pytest.fixture
def everything(once: Once) -> Run:
    return finished(once, "everything")


def test_an_update_of_baselines_writes_a_file_for_each_audit_of_both_workers(update: Run) -> None:
    names = sorted(path.name for path in (update.folder / "bases").iterdir())
    assert names == ["better.json", "net.json", "unsure.json", "worse.json"]
    update.lines.fnmatch_lines_random(
        [f"  baseline bases/{name}: no baseline yet; written" for name in names]
    )


def test_an_inconclusive_limit_is_in_the_last_line_and_fails_nothing(update: Run) -> None:
    assert update.code == pytest.ExitCode.OK
    assert "4 passed, 1 inconclusive" in update.text.splitlines()[-1]


def test_of_a_declared_model_only_the_limit_that_is_named_is_held(update: Run) -> None:
    update.lines.fnmatch_lines(["2 workers [[]5 items[]]", "  PASS pan_count 15 (max 15)  pypr*"])
    assert "max_pan_fraction" not in update.text


def test_an_inconclusive_limit_fails_its_test_where_the_option_says_so(everything: Run) -> None:
    everything.lines.fnmatch_lines(["FAILED test_unsure.py::test_unsure - *"])
    assert "inconclusive" not in everything.counts
    everything.lines.fnmatch_lines_random(["*PASSED test_unsure.py::test_sure*"])


@pytest.mark.parametrize("name", ["update", "everything"])
def test_an_inconclusive_limit_is_told_with_its_interval(once: Once, name: str) -> None:
    finished(once, name).lines.fnmatch_lines(
        [
            "  INCONCLUSIVE pan_count 6 (max 10)  marker of *",
            "    95 % interval 0 to 1? contains the limit; * more images would decide it",
            "  PASS pan_count 6 (max 15)  marker of *",
        ]
    )


def test_each_audit_is_made_once_also_where_both_workers_need_it(everything: Run) -> None:
    """In both runs together, as the second one finds those of the first in the cache."""
    ran = re.findall(r"^\[(gw\d)\] .* (?:PASSED|FAILED) (\S+)", everything.text, re.M)
    worker = {test: worker for worker, test in ran}
    assert worker["test_by_hand.py::test_by_hand"] != worker["test_served.py::test_first[audited]"]
    assert sorted((everything.folder / "made.txt").read_text().split()) == sorted(AUDITS)
    cached = {a["model"]["name"]: a["cached"] for a in everything.report["audits"]}
    assert not cached["Conv2d"]
    assert cached["worse"]


def test_the_figures_are_those_of_the_planted_neurons(everything: Run) -> None:
    counts = {
        audit["model"]["name"]: audit["measures"]["pan_count"]["value"]
        for audit in everything.report["audits"]
    }
    assert counts == {**dict.fromkeys(AUDITS, 15), "unsure": 6}


def test_every_outcome_is_counted_once_and_the_run_fails(everything: Run) -> None:
    """Fail: worse, unsure, by hand, without an audit, no model, strict, the declared fraction."""
    assert everything.code == pytest.ExitCode.TESTS_FAILED
    assert everything.counts == {"failed": 7, "passed": 9, "skipped": 1, "xfailed": 1}


def test_audits_that_were_expected_and_those_made_are_counted_over_all_workers(
    everything: Run,
) -> None:
    """Expected: worse and better, 2 of test_unsure, 5 of test_by_hand, 6 of test_served, the
    declared model. The test that was skipped, the one without a model and those of test_served
    that used no audit had none.
    """
    had, asked = 2 + 2 + 3 + 3 + 1, 2 + 2 + 5 + 6 + 1
    everything.lines.fnmatch_lines(
        [
            f"audits: {had} of {asked} expected (1 declared model, 15 tests), "
            f"1 of {asked + 1} audits deselected; 6 audits made (4 from the cache): *"
        ]
    )


def test_a_limit_relative_to_the_baseline_fails_beyond_it_and_says_why(everything: Run) -> None:
    everything.lines.fnmatch_lines(
        [
            "worse: pan_count 15 is above max_pan_count = 14 (*: baseline+1, 13 in bases/worse*",
            "  changed since the baseline: nothing recorded: weights, images, settings*",
            "  baseline bases/worse.json: 1 worse, 4 same",
            "    worse pan_count 13 -> 15 (+2)",
        ]
    )


def test_an_improvement_on_the_baseline_passes_and_suggests_the_update(everything: Run) -> None:
    everything.lines.fnmatch_lines(["*PASSED test_better.py::test_based*"])
    everything.lines.fnmatch_lines(
        [
            "    better pan_count 16 -> 15 (-1)",
            "    better than the baseline: pytest --pan-audit --pan-baseline=bases "
            "--pan-update-baseline records it",
            "  PASS pan_count 15 (max 17)  marker of *: baseline+1, 16 in bases/better*",
        ]
    )


def test_an_assertion_that_fails_shows_the_layers_and_neurons_behind_it(everything: Run) -> None:
    everything.lines.fnmatch_lines(
        [
            "E*assert 1.0 <= 0.03*",
            "*- padding audit -*",
            "Conv2d: 15 of 15 neurons (100.00 %) in 1 layer are padding aware, on 60 images*",
            "  (model): 100.00 %",
            "  (model) channel * is a * PAN: on * KS 1.00, KS+ 1.00, KS- 0.00",
        ]
    )
    assert everything.text.count("- padding audit -") == 1


def test_the_one_report_has_the_audits_and_verdicts_of_all_workers(everything: Run) -> None:
    audits = {audit["model"]["name"]: audit for audit in everything.report["audits"]}
    assert len(audits) == len(everything.report["audits"])
    outcomes = {
        name: sorted(verdict["outcome"] for verdict in audit["verdicts"])
        for name, audit in audits.items()
    }
    assert outcomes == AUDITS
    assert everything.text.count("= padding audit =") == 1


def test_the_report_is_partial_by_the_test_that_got_no_audit_and_by_no_limit_that_failed(
    everything: Run,
) -> None:
    said = everything.report["partial"]
    assert "test_by_hand.py::test_no_model" in said
    assert not [name for name in ("test_strict", "test_based", "test_unsure") if name in said]


def test_a_declared_model_is_in_junit_as_a_case_for_each_limit(everything: Run) -> None:
    tree = ElementTree.parse(everything.folder / "junit.xml")  # noqa: S314
    cases = {c.get("name"): c for c in tree.iter("testcase") if c.get("classname") == "pan.net"}
    assert set(cases) == {"max_pan_count", "max_pan_fraction"}
    case = cases["max_pan_fraction"]
    assert case.find("failure") is not None
    values = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert values == {
        "max_pan_fraction": "1.0",
        "max_pan_fraction.bound": "0.03",
        "max_pan_fraction.outcome": "fail",
        "max_pan_fraction.interval": "1 to 1",
    }


def test_the_markdown_is_one_text_with_every_verdict(everything: Run) -> None:
    text = (everything.folder / "out.md").read_text()
    assert text.count("<!-- pytest-pan -->") == 1
    assert text.count("### ") == len(AUDITS)
    shown = [text.count(f"<b>{outcome}</b>") for outcome in ("PASS", "FAIL", "INCONCLUSIVE")]
    assert shown == [3, 3, 1]


def test_the_html_report_has_a_section_for_each_audit_of_both_workers(everything: Run) -> None:
    page = (everything.folder / "pan-report.html").read_text()
    headings = re.findall(r"<h2 [^>]*>(\w+)", page)
    assert sorted(headings) == sorted([*AUDITS, "Glossary"])
    assert '<p class="outcome fail">3 limits failed, 1 limit inconclusive, ' in page
