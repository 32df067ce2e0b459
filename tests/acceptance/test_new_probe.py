"""A new probe needs its own code and a line in the table: every surface shows it then."""

from __future__ import annotations

import json

import pytest
import toy_probe
from commands import run

from pytest_pan import ConfigError
from pytest_pan.config import limits
from pytest_pan.probes import table
from pytest_pan.probes.table import read_audit

TEST = """
    import pytest

    @pytest.mark.pan(max_border_mean_gap=0.5)
    def test_rows(): ...
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PROBES", (*table.PROBES, toy_probe.PROBE))


@pytest.fixture
def ran(toy: None, repo: pytest.Pytester) -> pytest.RunResult:
    """An audit of fifteen planted neurons: on bright images each row is below 0 but where the
    padding is missing from the sum, so that first and last row have the same mean.
    """
    repo.makepyfile(test_rows=TEST)
    reports = [f"--pan-report={kind}" for kind in ("json", "html", "markdown")]
    return repo.runpytest("--pan-audit", *reports)


def test_a_limit_on_its_measure_runs_it_and_passes(ran: pytest.RunResult) -> None:
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines(["  mean of the first row *", "*PASS border_mean_gap *(max 0.5)*"])


def test_every_report_has_its_findings_and_its_measure(
    ran: pytest.RunResult, repo: pytest.Pytester
) -> None:
    (audit,) = json.loads((repo.path / "pan-report.json").read_text())["audits"]
    assert audit["settings"]["probes"] == ["pans", "uneven", "foveation", "toy"]
    assert set(audit["findings"]["toy"]) == {"T", "B"}
    assert 0 <= audit["measures"]["border_mean_gap"]["value"] < 0.5
    assert "the toy probe ran" in audit["notes"]
    assert read_audit(audit).findings["toy"].means == audit["findings"]["toy"]
    html = (repo.path / "pan-report.html").read_text()
    for words in (toy_probe.PROBE.question, toy_probe.MEASURE.meaning, "mean of the first row"):
        assert words in html
    assert "border_mean_gap" in (repo.path / "pan-report.md").read_text()


def test_options_limits_and_the_docs_table_know_it(toy: None, repo: pytest.Pytester) -> None:
    assert "| `border_mean_gap` | `toy` | number | lower |" in table.markdown()
    assert toy_probe.PROBE.question in run("probes").output
    with pytest.raises(ConfigError, match="Did you mean 'max_border_mean_gap'"):
        limits.limits("max_border_men_gap", 1, origin="here")
    repo.makepyfile("def test_a(pan_audit): assert pan_audit.toy.means")
    repo.runpytest("--pan-audit", "--pan-probes=toy").assert_outcomes(passed=1)


def test_without_it_in_the_table_its_limit_is_refused(repo: pytest.Pytester) -> None:
    repo.makepyfile(test_rows=TEST)
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown limit 'max_border_mean_gap'*"])


def test_a_probe_that_stands_alone_and_fails_leaves_the_audit_and_fails_its_limits(
    toy: None, repo: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, known: object) -> None:
        raise ArithmeticError("no border")

    monkeypatch.setattr(toy_probe.ToyObserver, "findings", fail)
    monkeypatch.setattr(toy_probe.ToyObserver, "stands_alone", True, raising=False)
    repo.makepyfile(
        test_rows=TEST + "\n    @pytest.mark.pan(max_pan_count=15)\n    def test_b(): ..."
    )
    result = repo.runpytest("--pan-audit", "--pan-report=json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the probe toy failed: ArithmeticError: no border*"])
    (audit,) = json.loads((repo.path / "pan-report.json").read_text())["audits"]
    assert "toy" not in audit["findings"]
    assert audit["partial"] == ""


def test_all_stands_for_every_probe(toy: None, repo: pytest.Pytester) -> None:
    repo.makepyfile("def test_a(pan_audit): assert 'toy' in pan_audit.settings.probes")
    repo.runpytest("--pan-audit", "--pan-probes=all").assert_outcomes(passed=1)
