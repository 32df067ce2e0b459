"""Reports that are no reports: compare and merge refuse them in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from build import make_audit, make_control, make_plans, make_ran, make_verdict
from commands import run

from pytest_pan.records.changes import BaselineComparison, MeasureChange
from pytest_pan.records.measures import Measured
from pytest_pan.report import json as json_report

SAMPLES = (None, True, -1, 3, 0.5, 10**400, "text", "", [], [1], ["a", "b"], {}, {"a": 1}, [[]])
"""Values of every JSON type, put in the place of every part of a report."""


def good() -> dict[str, Any]:
    """Return a report with every kind of part."""
    interval = Measured(
        measure="pan_count",
        value=3.0,
        sites={"features.0.conv": 3.0},
        interval=(2.0, 4.0),
        intervals={"features.0.conv": (2.0, 4.0)},
        bounds=(2.0, 4.0),
        site_bounds={"features.0.conv": (2.0, 4.0)},
    )
    audit = make_audit(
        sites=1,
        neurons=1,
        influence=make_plans(1, classes=2),
        verdicts=(make_verdict(evidence=["a layer"]),),
        baseline=BaselineComparison(
            file="b/net.json", rows=(MeasureChange("pan_count", 2, 3, "worse"),)
        ),
        notes=("few images",),
        classes=("cat", "dog"),
    )
    measures = {**audit.measures, "pan_count": interval, "log_odds_shift": make_control()}
    object.__setattr__(audit, "measures", measures)
    return json_report.document([audit], ran=make_ran([audit], had=1, tests=1).to_json())


def parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every part; of a long list, only the first element's."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from parts(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from parts(value[0], (*path, 0))


def changed(report: dict[str, Any], path: tuple[Any, ...], *value: Any) -> dict[str, Any]:
    """Return the report with another value at the path, or without it."""
    report = copy.deepcopy(report)
    holder: Any = report
    for key in path[:-1]:
        holder = holder[key]
    if value:
        holder[path[-1]] = value[0]
    else:
        del holder[path[-1]]
    return report


def check(*command: object) -> int:
    """Run the command, which must not end in a traceback; return its exit code."""
    result = run(*command)
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        command,
        result.exception,
    )
    if result.exit_code == 2:
        (line,) = result.output.splitlines()
        assert "bad.json" in line or "page" in line, line
        assert len(line) < 1_500
    return int(result.exit_code)


def paths() -> list[tuple[Any, ...]]:
    return list(parts(good()))


@pytest.mark.parametrize("top", sorted({str(path[:3]) for path in paths()}))
def test_a_report_with_any_wrong_part_never_makes_a_traceback(
    top: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = good()
    Path("good.json").write_text(json.dumps(report))
    for path in paths():
        if str(path[:3]) != top:
            continue
        for change in ((), *((value,) for value in SAMPLES)):
            Path("bad.json").write_text(json.dumps(changed(report, path, *change)))
            check("compare", "good.json", "bad.json")
            check("merge", "bad.json", "-o", "out.json", "--force")


@pytest.mark.parametrize("top", ["measures", "sites", "neurons", "influence", "settings", "skips"])
def test_a_page_of_any_wrong_part_never_makes_a_traceback(
    top: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = good()
    for path in paths():
        is_other = top == "measures" and path[3:4] not in ((), ("pan_count",))
        if path[:3] != ("audits", 0, top) or len(path) > 5 or is_other:
            continue
        for change in ((), ([],), (-1,)):
            Path("bad.json").write_text(json.dumps(changed(report, path, *change)))
            check("merge", "bad.json", "-o", "out.json", "--html", "out.html", "--force")


WRONG = {
    "measures is a list": (("measures",), []),
    "a value is a string": (("measures", "pan_count", "value"), "3"),
    "a value is infinite": (("measures", "pan_count", "value"), 10**400),
    "sites is a number": (("measures", "pan_count", "sites"), 3),
    "the value of a site is a string": (("measures", "pan_count", "sites"), {"a": "b"}),
    "ends of an interval are strings": (("measures", "pan_count", "interval"), ["a", "b"]),
    "an interval of one end": (("measures", "pan_count", "interval"), [1]),
    "no probes": (("settings", "probes"), None),
}


@pytest.mark.parametrize("command", ["compare", "merge"])
@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG)
def test_a_wrong_part_that_a_command_uses_is_refused(
    command: str,
    path: tuple[str, ...],
    value: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(json.dumps(good()))
    Path("bad.json").write_text(json.dumps(changed(good(), ("audits", 0, *path), value)))
    output = ("-o", "out.json") if command == "merge" else ()
    assert check(command, "good.json", "bad.json", *output) == 2


def test_findings_that_are_no_object_are_refused_by_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text(json.dumps(changed(good(), ("audits", 0, "findings"), [1])))
    assert check("merge", "bad.json", "-o", "out.json") == 2


FILES = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00{",
    "NaN": b"NaN",
    "a list": b"[]",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "fairly deep": b'{"schema": "pytest-pan/2", "audits": ' + b"[" * 500 + b"]" * 500 + b"}",
    "huge": b'{"schema": "pytest-pan/2", "audits": ' + b"9" * 5_000 + b"}",
    "a schema of any type": b'{"schema": {"a": [1, 2]}, "audits": []}',
}


@pytest.mark.parametrize("command", ["compare", "merge"])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_file_that_holds_no_report_is_refused(
    command: str, text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(json.dumps(good()))
    Path("bad.json").write_bytes(text)
    output = ("-o", "out.json") if command == "merge" else ()
    assert check(command, "good.json", "bad.json", *output) == 2


@pytest.mark.parametrize("command", ["compare", "merge"])
def test_a_directory_and_a_missing_file_are_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(json.dumps(good()))
    output = ("-o", "out.json") if command == "merge" else ()
    assert check(command, "good.json", "bad.json", *output) == 2
    Path("bad.json").mkdir()
    assert check(command, "good.json", "bad.json", *output) == 2


def test_the_good_report_and_unknown_findings_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = changed(good(), ("audits", 0, "findings", "later_probe"), {"deep": [{"a": None}]})
    Path("good.json").write_text(json.dumps(report))
    assert check("compare", "good.json", "good.json") == 0
    assert check("merge", "good.json", "-o", "out.json", "--html", "out.html") == 0
    merged = json.loads(Path("out.json").read_text())
    assert merged["audits"][0]["findings"]["later_probe"] == {"deep": [{"a": None}]}
