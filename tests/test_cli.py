"""pytest-pan compare and merge: what they print, leave on disk, and their exit codes.

Longer than 350 lines: two sub-commands that are tested on the same reports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build import (
    make_audit,
    make_control,
    make_neuron,
    make_plans,
    make_ran,
    make_verdict,
)
from commands import refused, run

from pytest_pan.probes.influence.records import InfluenceFindings
from pytest_pan.records.audit import Audit, Settings, Skip
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.measures import Measured
from pytest_pan.report import json as json_report

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes audits as the JSON report of a run into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, *audits: Audit, partial: str = "", ran: RunSummary | None = None) -> Path:
        said = ran.to_json() if ran else None
        Path(name).write_text(json_report.render(audits, partial=partial, ran=said))
        return Path(name)

    return write


def with_measures(audit: Audit, **values: float) -> Audit:
    measured = {n: Measured(measure=n, value=value) for n, value in values.items()}
    return replace(audit, measures={**audit.measures, **measured})


def test_what_got_worse_is_named_and_fails(write: Write) -> None:
    before = with_measures(make_audit("net"), pan_count=3, pan_fraction=0.02, uneven_layers=4)
    after = with_measures(make_audit("net"), pan_count=5, pan_fraction=0.02, uneven_layers=1)
    result = run("compare", write("a.json", before), write("b.json", after))
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["pan_count"] == ["3", "5", "+2", "WORSE"]
    assert " ".join(rows["pan_fraction"]) == "2.00 % 2.00 % 0 same"
    assert rows["uneven_layers"] == ["4", "1", "-3", "better"]
    assert result.exit_code == 1
    assert run("compare", "b.json", "b.json").exit_code == 0


@pytest.mark.parametrize(("tolerance", "code"), [("0.24", 1), ("0.25", 0), ("0", 1)])
def test_tolerance_is_a_share_of_the_value_before(write: Write, tolerance: str, code: int) -> None:
    files = [write(f"{n}.json", with_measures(make_audit(), pan_count=n)) for n in (4, 5)]
    assert run("compare", *files, "--tolerance", tolerance).exit_code == code


def test_what_was_measured_and_is_no_longer_does_not_look_green(write: Write) -> None:
    before = write("a.json", with_measures(make_audit("net"), log_odds_shift=0.1))
    for n, after in enumerate(
        [
            [make_audit("net")],
            [with_measures(make_audit("net"), log_odds_shift=float("nan"))],
            [with_measures(make_audit("net", partial="interrupted"), log_odds_shift=0.1)],
        ]
    ):
        result = run("compare", before, write(f"{n}.json", *after))
        assert result.exit_code == 1
        assert "LOST" in result.output or "PARTIAL" in result.output
    two = write("two.json", make_audit("net"), make_audit("other"))
    result = run("compare", two, write("one.json", make_audit("net")))
    assert (result.exit_code, "other: only in two.json" in result.output) == (1, True)
    assert run("compare", "one.json", two).exit_code == 0


def test_what_else_differs_is_said_by_its_kind(write: Write) -> None:
    before = make_audit("net")
    after = replace(
        before,
        model={**before.model, "digest": "sha256:00"},
        images={**before.images, "count": 9},
        settings=Settings(probes=("pans",), theta=0.4, workers=8),
        environment={"python": "3.11", "torch": "2.5.0", "device": "cuda:0 (a GPU)"},
    )
    output = run("compare", write("a.json", before), write("b.json", after)).output
    assert "differs in weights: digest sha256:3f1c9a -> sha256:00" in output
    assert "differs in images: count 210 -> 9" in output
    assert "differs in settings: theta 0.5 -> 0.4\n" in output
    assert "differs in hardware: device cpu -> cuda:0 (a GPU)" in output
    assert "differs in versions: torch 2.4.0 -> 2.5.0" in output
    assert "differs" not in run("compare", "a.json", "a.json").output


def test_other_labels_of_the_same_images_are_said(write: Write) -> None:
    bare = make_audit("net")
    few, other = (
        replace(bare, images={**bare.images, "labelled": 210, "labels": digest * 32})
        for digest in ("0a", "b1")
    )
    a, b, none = write("a.json", few), write("b.json", other), write("none.json", bare)
    output = run("compare", a, b).output
    assert "differs in labels: digest 0a0a0a0a0a0a0a0a... -> b1b1b1b1b1b1b1b1...\n" in output
    assert "differs in images" not in output
    assert "differs in labels: digest 0a0a0a0a0a0a0a0a... -> -\n" in run("compare", a, none).output
    assert "differs" not in run("compare", b, b).output


def test_audits_of_one_name_are_matched_by_their_settings(write: Write) -> None:
    loose, strict = (
        with_measures(make_audit("net", settings=Settings(theta=theta)), pan_count=count)
        for theta, count in ((0.5, 9), (0.9, 2))
    )
    result = run("compare", write("a.json", loose, strict), write("b.json", strict, loose))
    assert result.exit_code == 0
    assert "differs" not in result.output


def test_one_audit_can_be_picked(write: Write) -> None:
    worse = with_measures(make_audit("bad"), pan_count=99)
    a = write("a.json", make_audit("net"), make_audit("bad"))
    b = write("b.json", make_audit("net"), worse)
    assert run("compare", a, b, "--audit", "net").exit_code == 0
    assert run("compare", a, b, "--audit", "bad").exit_code == 1
    assert refused(run("compare", a, b, "--audit", "nett"), "nett", "a.json: net, bad")


@pytest.mark.parametrize("pick", [(), ("--audit", "one")])
def test_an_only_model_that_is_gone_is_a_loss_and_no_wrong_usage(
    write: Write, pick: tuple[str, ...]
) -> None:
    a, b = write("a.json", make_audit("one")), write("b.json", make_audit("other"))
    result = run("compare", a, b, *pick)
    assert result.exit_code == 1
    assert "one: only in a.json" in result.output
    assert ("other: only in b.json" in result.output) == (not pick)
    assert run("compare", a, write("none.json"), *pick).exit_code == 1


def test_a_report_without_an_audit_before_is_refused(write: Write) -> None:
    a, b = write("a.json"), write("b.json", make_audit("other"))
    assert refused(run("compare", a, b), "none in a.json", "a.json: no audits", "b.json: other")


@pytest.mark.parametrize("tolerance", ["-1", "nan", "inf"])
def test_a_tolerance_that_is_none_is_refused(write: Write, tolerance: str) -> None:
    a = write("a.json", make_audit())
    assert refused(run("compare", a, a, "--tolerance", tolerance), "--tolerance", "from 0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ("No such file", "a file to read")),
        ("not json", ("invalid JSON",)),
        ("[]", ("without a schema",)),
        ("\0", ("invalid JSON",)),
        ("[" * 100_000, ("invalid JSON",)),
        ('{"schema": "pytest-pan/3", "audits": []}', ("'pytest-pan/3'", "'pytest-pan/2'")),
        ('{"schema": "pytest-pan/1"}', ("no list of audits",)),
        ('{"schema": "pytest-pan/1", "audits": [1]}', ("audit 1 is not an object",)),
        ('{"schema": "pytest-pan/1", "audits": [{}]}', ("audit 1 has no 'model'",)),
    ],
)
@pytest.mark.parametrize("command", ["compare", "merge"])
def test_a_file_that_is_no_report_is_named_with_what_is_wrong(
    write: Write, command: str, text: str | None, words: tuple[str, ...]
) -> None:
    good = write("good.json", make_audit())
    if text is not None:
        Path("bad.json").write_text(text)
    output = ("-o", "out.json") if command == "merge" else ()
    assert refused(run(command, good, "bad.json", *output), "bad.json", *words)
    assert not Path("out.json").exists()


def test_an_audit_of_another_version_is_compared_but_not_merged(write: Write) -> None:
    body = json.loads(write("a.json", make_audit()).read_text())
    body["audits"][0]["weather"] = "fine"
    Path("newer.json").write_text(json.dumps(body))
    assert run("compare", "a.json", "newer.json").exit_code == 0
    assert refused(run("merge", "newer.json", "-o", "out.json"), "newer.json", "audit 1")


def rich(name: str = "net", **changes: Any) -> Audit:
    """An audit with something of everything, also what is undefined."""
    audit = make_audit(name, influence=make_plans(), **changes)
    odds = replace(audit.influence[0], log_odds=(float("nan"), 0.5))
    measures = {"log_odds_shift": make_control(draws=(float("nan"), 0.1))}
    undefined = with_measures(audit, pan_floor=float("nan"))
    return replace(
        undefined,
        measures=undefined.measures | measures,
        findings={
            **undefined.findings,
            "influence": InfluenceFindings((odds, *audit.influence.plans[1:])),
        },
        verdicts=(make_verdict(value=float("nan"), outcome="fail"),),
    )


def test_a_report_merged_with_itself_is_itself(write: Write) -> None:
    shard = write("a.json", rich("net"), rich("other", neurons=[make_neuron(channel=3)]))
    assert run("merge", shard, shard, "-o", "out.json").exit_code == 0
    whole, out = (json.loads(Path(name).read_text()) for name in ("a.json", "out.json"))
    assert out["audits"] == whole["audits"]


def test_the_same_audit_stands_once_with_the_verdicts_of_all_machines(write: Write) -> None:
    here, there, both = (make_verdict(origin=name) for name in ("here", "there", "both"))
    audit, elsewhere = make_audit("net"), {"device": "another"}
    a = write("a.json", replace(audit, verdicts=(both, here)))
    b = write("b.json", replace(audit, verdicts=(both, there), seconds={}, environment=elsewhere))
    result = run("merge", a, b, write("c.json", make_audit("other")), "-o", "out.json")
    assert result.exit_code == 0
    first, other = json.loads(Path("out.json").read_text())["audits"]
    assert [v["limit"]["origin"] for v in first["verdicts"]] == ["both", "here", "there"]
    assert other["model"]["name"] == "other"


def test_shards_of_other_devices_and_folders_are_one_audit_or_a_contradiction(
    write: Write,
) -> None:
    def shard(folder: str, device: str, neurons: int = 2) -> Audit:
        audit = make_audit("net", neurons=neurons)
        return replace(
            audit,
            images={**audit.images, "source": folder},
            settings=replace(audit.settings, device=device),
            skips=(Skip(what=f"{folder}/broken.png", why="broken"),),
        )

    here, there = shard("/a/images", "cpu"), shard("/b/images", "cuda:0")
    result = run("merge", write("a.json", here), write("b.json", there), "-o", "out.json")
    (audit,) = json.loads(Path("out.json").read_text())["audits"]
    assert audit["images"]["source"] == "/a/images"
    assert "differ" not in result.output
    other = write("c.json", shard("/b/images", "cuda:0", neurons=1))
    result = run("merge", "a.json", other, "-o", "out.json", "--force")
    assert len(json.loads(Path("out.json").read_text())["audits"]) == 2
    assert "net: values differ between machines" in result.output


def test_findings_that_contradict_each_other_are_both_kept_and_said(write: Write) -> None:
    audit = make_audit("net", neurons=2)
    changed = replace(audit, neurons=audit.neurons[:1])
    result = run("merge", write("a.json", audit), write("b.json", changed), "-o", "out.json")
    audits = json.loads(Path("out.json").read_text())["audits"]
    assert [len(audit["neurons"]) for audit in audits] == [2, 1]
    assert "net: values differ between machines" in result.output


def test_a_merged_report_is_as_partial_as_its_parts(write: Write) -> None:
    a = write("a.json", make_audit("net"), partial="the run was interrupted")
    b = write("b.json", make_audit("other"))
    result = run("merge", a, b, "-o", "out.json", "--html", "out.html")
    reason = "a.json: the run was interrupted"
    assert json.loads(Path("out.json").read_text())["partial"] == reason
    assert reason in Path("out.html").read_text()
    assert f"PARTIAL: {reason}" in result.output


def test_a_merged_report_says_what_was_expected_of_all_runs_together(write: Write) -> None:
    audits = [make_audit(name, verdicts=(make_verdict(),)) for name in ("net", "other")]
    here = make_ran(audits, had=3, models=1, tests=2, deselected=4)
    there = make_ran(audits[:1], had=1, models=1, tests=1, left_out=1)
    a, b = write("a.json", *audits, ran=here), write("b.json", audits[0], ran=there)
    result = run("merge", a, b, "-o", "out.json", "--html", "out.html")
    ran = json.loads(Path("out.json").read_text())["ran"]
    assert ran["expected"] == {
        "audits": 5,
        "models": 2,
        "tests": 3,
        "deselected": 4,
        "left_out": 1,
    }
    assert ran["had"] == 4
    assert ran["audits"] == 2  # the one that both have stands once
    assert ran["sites"] == {"examined": 4, "skipped": 2}
    assert ran["images"] == {"expected": None, "read": 420}
    assert "audits: 4 of 5 expected (2 declared models, 3 tests)" in result.output
    page = Path("out.html").read_text()
    assert '<p class="outcome warn">1 of 5 expected audits missing, 2 limits passed</p>' in page


@pytest.mark.parametrize("said", [{}, None, [], {"expected": {}}, {"expected": None}])
def test_a_merged_report_says_where_a_part_is_silent_on_what_was_expected(
    write: Write, said: object
) -> None:
    a = write("a.json", make_audit("net"), ran=make_ran([], had=1, tests=1))
    body = json.loads(write("b.json", make_audit("other")).read_text()) | {"ran": said}
    Path("b.json").write_text(json.dumps(body))
    result = run("merge", a, "b.json", "-o", "out.json")
    assert result.exit_code == 0
    assert "b.json: no summary of expected audits" in result.output
    assert "a.json: no summary" not in result.output
    assert json.loads(Path("out.json").read_text())["ran"] == {}


@pytest.mark.parametrize("place", ["out.json", "out.html"])
def test_an_output_that_exists_is_kept_unless_forced(write: Write, place: str) -> None:
    shard = write("a.json", make_audit())
    Path(place).write_text("mine")
    arguments = ("merge", shard, "-o", "out.json", "--html", "out.html")
    assert refused(run(*arguments), place, "exists", "--force")
    assert Path(place).read_text() == "mine"
    assert not Path({"out.json": "out.html", "out.html": "out.json"}[place]).exists()
    assert run(*arguments, "--force").exit_code == 0
    assert len(Path(place).read_text()) > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "a.json", "--force"), ("a.json", "one of the reports to merge")),
        (("-o", "out", "--html", "./out"), ("--html", "another file")),
        (("-o", ".", "--force"), ("is a directory",)),
        (("-o", "a.json/out"), ("is not a directory",)),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_written(
    write: Write, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    shard = write("a.json", make_audit())
    before = shard.read_text()
    assert refused(run("merge", shard, *arguments), *words)
    assert shard.read_text() == before
    assert [path.name for path in Path().iterdir()] == ["a.json"]


def test_terminal_codes_in_a_report_reach_no_terminal(write: Write) -> None:
    a = write("a.json", make_audit("net\x1b[31m", partial="\x1b[2J"))
    output = run("compare", a, a).output
    assert "\x1b" not in output
    assert "net\\x1b[31m" in output


def test_importing_and_comparing_needs_neither_torch_nor_pytest(write: Write) -> None:
    write("a.json", make_audit())
    code = (
        "import sys; from pytest_pan.cli import main; "
        "main(['compare', 'a.json', 'a.json'], standalone_mode=False)"
    )
    ending = "\nfinally: print('heavy:', {'torch', 'numpy', 'pytest'} & set(sys.modules))"
    command = [
        sys.executable,
        "-c",
        f"import sys\ntry: exec({code!r})\nexcept SystemExit: pass" + ending,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: set()"


def test_without_intervals_nothing_is_suggested_and_the_exit_code_is_1(write: Write) -> None:
    result = run("suggest", write("a.json", make_audit("few"), make_audit("other")), "--audit=few")
    assert result.exit_code == 1
    assert result.stdout.startswith("few: no limits to start from: no interval")
    assert "other" not in result.stdout
