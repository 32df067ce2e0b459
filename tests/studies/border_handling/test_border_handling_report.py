"""The study's table, its JSON, and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from commands import refused, run

from pytest_pan.studies import command
from pytest_pan.studies.border_handling import report
from pytest_pan.studies.border_handling.records import SCHEMES, Protocol, Run, Study

PUBLISHED = {
    "valid": (100, 0.2),
    "zero": (99.8, 8.4),
    "circular": (73.7, 73.7),
    "full zero": (89.7, 89.7),
}
"""Similar and dissimilar accuracy in percent, METHODS 10."""


def made(*seeds: int) -> Study:
    """Accuracies 0.9 and 0.8 in turn: 85 % and a deviation of sqrt(2) * 5 % over two seeds."""
    runs = tuple(
        Run(
            scheme=scheme.name,
            seed=seed,
            training=1.0,
            similar=0.9 - 0.1 * (at % 2),
            dissimilar=0.25,
            losses=(0.5,),
        )
        for scheme in SCHEMES
        for at, seed in enumerate(seeds)
    )
    return Study(protocol=Protocol(), seeds=seeds, device="cpu", torch="2", runs=runs)


def test_the_table_has_mean_and_deviation_beside_the_published_figure() -> None:
    _, heads, *rows = list(report.lines(made(3, 4)))[:6]
    assert heads.split() == [
        "padding", "training", "similar", "published", "dissimilar", "published"
    ]  # fmt: skip
    for row, (name, (similar, dissimilar)) in zip(rows, PUBLISHED.items(), strict=True):
        cells = f"{name} 100.0 ± 0.0 85.0 ± 7.1 {similar:.1f} 25.0 ± 0.0 {dissimilar:.1f}"
        assert " ".join(row.split()) == cells


def test_of_one_seed_there_is_no_deviation() -> None:
    text = "\n".join(report.lines(made(3)))
    assert "±" not in text
    assert "deviation" not in text
    assert made(3).to_json()["schemes"]["zero"]["similar"] == {"mean": 90.0, "deviation": None}


def test_table_and_json_say_that_the_test_has_confounders_and_how_the_networks_were_trained() -> (
    None
):
    study = replace(made(3, 4), protocol=Protocol(images=1_234, epochs=56))
    text = "\n".join(report.lines(study))
    assert "Lin et al. (PPP) show that this test has confounders" in text
    assert "2 seeds from 3, 1,234 training images, 56 epochs, batches of 32" in text
    body = study.to_json()
    assert "confounders" in body["note"]
    assert body["protocol"] == {"images": 1234, "epochs": 56, "batch": 32, "tests": 1000}


def test_a_progress_line_tells_the_time_left_from_the_mean_so_far() -> None:
    one = made(3).runs[0]
    assert report.progress(3, 9, one, 30.0) == (
        "3 of 9: valid, seed 3: similar 90.0 %, dissimilar 25.0 %; about 60 s left"
    )
    assert report.progress(9, 9, one, 30.0).endswith("dissimilar 25.0 %")


def test_the_command_prints_the_table_tells_progress_apart_and_writes_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "Protocol", partial(Protocol, tests=10))
    out = tmp_path / "new" / "study.json"
    sizes = ("--seeds=1", "--seed=5", "--images=2", "--epochs=1", "--workers=1")
    result = run("study", "border-handling", *sizes, "--json", out)
    assert result.exit_code == 0, result.output
    body = json.loads(out.read_text())
    rows = [line.split("  ") for line in result.stdout.splitlines()[2:6]]
    for scheme, row, each in zip(SCHEMES, rows, body["runs"], strict=True):
        assert (each["scheme"], each["seed"]) == (scheme.name, 5)
        assert row[1] == scheme.name
        assert f"{100 * each['similar']:.1f}" in row
        assert body["schemes"][scheme.name]["similar"]["mean"] == 100 * each["similar"]
        assert body["schemes"][scheme.name]["published"] == dict(
            zip(("similar", "dissimilar"), PUBLISHED[scheme.name], strict=True)
        )
    assert [line[:6] for line in result.stderr.splitlines()] == [f"{k} of 4" for k in range(1, 5)]
    assert " of 4: " not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--json", "there.json"), ("--json", "there.json", "exists", "--force")),
        (("--json", ".", "--force"), ("--json", "is a directory")),
        (("--json", "there.json/a"), ("--json", "is not a directory")),
        (("--device", "gpu"), ("device", "'gpu'", "allowed: auto, cpu")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_training(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("mine")
    assert refused(run("study", "border-handling", *arguments), *words)
    assert Path("there.json").read_text() == "mine"


@pytest.mark.parametrize("option", ["--seeds", "--images", "--epochs", "--workers"])
def test_a_number_out_of_range_is_refused_with_the_range(option: str) -> None:
    result = run("study", "border-handling", f"{option}=0")
    assert result.exit_code == 2
    assert option in result.output
    assert "0 is not in the range" in result.output
