"""What the terminal says: safe characters, absurd numbers, commands that run as printed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import declare

HUGE = {
    "more than a float holds": "10**400",
    "more digits than Python prints": "10**5000",
    "infinite": "float('inf')",
    "not a number": "float('nan')",
    "no number": "object()",
    "a number that does not convert": "type('N', (int,), {'__float__': lambda n: 1 / 0})(10**5000)",
    "a list": "[10**5000]",
    "in a table": "{'*': 10**400}",
    "in a table, endless": "{'*': 10**5000}",
    "a key": "{10**5000: -1}",
}


@pytest.mark.parametrize("bound", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("limit", ["max_pan_count", "max_pan_cont", "min_pan_fraction"])
def test_an_absurd_bound_in_a_marker_is_a_usage_error(
    repo: pytest.Pytester, bound: str, limit: str
) -> None:
    repo.makepyfile(f"import pytest\n@pytest.mark.pan({limit}={bound})\ndef test_net(): ...")
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    (line,) = [text for text in result.stderr.lines if text.startswith("ERROR")]
    assert limit in line
    assert len(line) < 1_000


@pytest.mark.parametrize("number", ["1" + 400 * "0", "inf", "nan", "-1", "{ '*' = 1e999 }"])
@pytest.mark.parametrize("key", ["limits = { max_pan_count = %s }", "theta = %s", "memory = %s"])
def test_an_absurd_number_in_the_file_is_a_usage_error(
    repo: pytest.Pytester, key: str, number: str
) -> None:
    repo.makepyprojecttoml("[tool.pan]\n" + key % number)
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: pyproject.toml*got *allowed: *"])


@pytest.mark.parametrize(
    "option",
    [
        "--pan-limit=max_pan_count=1e999",
        "--pan-limit=max_pan_count=" + 5_000 * "9",
        "--pan-limit=max_pan_count[*]=" + 400 * "9",
        "--pan-theta=1e999",
        "--pan-seed=" + 400 * "9",
        "--pan-seed=" + 5_000 * "9",
        "--pan-workers=" + 400 * "9",
        "--pan-draws=" + 400 * "9",
    ],
)
def test_an_absurd_number_on_the_command_line_is_a_usage_error(
    repo: pytest.Pytester, option: str
) -> None:
    result = repo.runpytest("--pan-audit", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [text for text in result.stderr.lines if text.startswith("ERROR")]
    assert len(line) < 1_000


CLEAR = "\x1b[2J"
STRANGE = f"""
import pytest
from torch import nn
from nets import bright_images, fifteen_types

class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("conv{CLEAR!r}"[:4] + {CLEAR!r}, fifteen_types())
    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x.mean((2, 3))

Strange.__name__ = "Net" + {CLEAR!r} + "\\n" + 5000 * "x"

@pytest.fixture(scope="session")
def pan_model():
    return Strange()

@pytest.fixture(scope="session")
def pan_images():
    return bright_images(count=60, size=10)

@pytest.fixture(scope="session")
def pan_classes():
    return ["class" + {CLEAR!r} + str(n) for n in range(15)]
"""


def test_control_characters_of_names_never_reach_the_terminal(repo: pytest.Pytester) -> None:
    repo.makeconftest(STRANGE)
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_fraction=0.03, max_log_odds_shift=0)
        def test_marked(): ...

        def test_by_hand(pan_audit):
            assert pan_audit.pan_fraction < 0.03
        """
    )
    result = repo.runpytest("--pan-audit", "--pan-baseline=base", "--color=no")
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert "\x1b" not in text
    assert "Net\\x1b[2J\\n" in text
    assert "conv\\x1b[2J" in text
    assert "class\\x1b[2J" in text
    lines = [line for line in result.outlines if "x" * 300 in line]
    assert not [line for line in lines if not line.startswith("FAILED")]


def test_the_message_of_a_failing_model_is_escaped(repo: pytest.Pytester) -> None:
    repo.makeconftest(
        STRANGE.replace("for module", f"raise OSError('bad' + {CLEAR!r})\n        for m")
    )
    repo.makepyfile("def test_net(pan_audit): ...")
    result = repo.runpytest("--pan-audit", "--color=no")
    result.assert_outcomes(errors=1)
    assert "\x1b" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*the model raised OSError*bad\\x1b*"])


def commands(text: str) -> list[list[str]]:
    """Return the pytest commands that lines of output print, as words."""
    found = []
    for line in text.splitlines():
        _, start, rest = line.partition("pytest --pan")
        if start:
            command = rest
            for end in (" writes", " records", ", or set"):
                command = command.partition(end)[0]
            found.append(shlex.split("--pan" + command))
    return found


@pytest.mark.parametrize("folder", ["base", "my base"])
def test_the_command_that_writes_a_missing_baseline_runs_as_printed(
    repo: pytest.Pytester, folder: str
) -> None:
    pool = "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()"
    declare(repo, f"torch.nn.Sequential(fifteen_types(), {pool})")
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_count="baseline+10%", max_prediction_flips="baseline")
        def test_net(): ...
        """
    )
    result = repo.runpytest("--pan-audit", f"--pan-baseline={folder}")
    result.assert_outcomes(failed=1)
    printed = result.stdout.str()
    assert "= undefined" not in printed
    assert "max undefined" not in printed
    result.stdout.fnmatch_lines(["*max_pan_count = baseline+10%, no baseline yet (*"])
    found = commands(printed)
    assert found
    for command in found:
        assert command == ["--pan-audit", f"--pan-baseline={folder}", "--pan-update-baseline"]
        repo.runpytest(*command).assert_outcomes(passed=1)
    assert list((repo.path / folder).glob("*.json"))
    assert not commands(repo.runpytest("--pan-audit", f"--pan-baseline={folder}").stdout.str())


def test_the_command_after_an_improvement_and_a_broken_baseline_run_as_printed(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile("def test_net(pan_audit): ...")
    write = ("--pan-audit", "--pan-baseline=base", "--pan-update-baseline")
    repo.runpytest(*write)
    centre = "torch.tensor([[0, 0, 0], [0, 1.0, 0], [0, 0, 0]])[None]"
    declare(repo, f"conv(torch.stack([missing('T'), {centre}]))")
    result = repo.runpytest("--pan-audit", "--pan-baseline=base")
    assert commands(result.stdout.str()) == [list(write)]
    repo.runpytest(*write).assert_outcomes(passed=1)
    (file,) = (repo.path / "base").glob("*.json")
    file.write_text("{")
    result = repo.runpytest("--pan-audit", "--pan-baseline=base")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert commands(result.stderr.str()) == [list(write)]
    file.unlink()
    repo.runpytest(*write).assert_outcomes(passed=1)


def test_the_command_that_a_skipped_test_prints_runs(repo: pytest.Pytester) -> None:
    repo.makepyfile("def test_net(pan_audit): ...")
    result = repo.runpytest("-rs")
    (command,) = commands(result.stdout.str())
    assert command == ["--pan-audit"]
    repo.runpytest(*command).assert_outcomes(passed=1)


def test_temporary_files_of_dead_writers_are_removed_by_the_next_one(
    repo: pytest.Pytester,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {
        "gone": f".pan-report.html.{dead.pid}.tmp",
        "absurd": f".pan-report.html.{10**19}.tmp",
        "running": f".pan-report.html.{os.getppid()}.tmp",
        "another report": f".other.html.{dead.pid}.tmp",
        "no number": ".pan-report.html.x.tmp",
    }
    for name in names.values():
        Path(name).write_text("half")
    repo.makepyfile("def test_net(pan_audit): ...")
    repo.runpytest("--pan-audit", "--pan-report=html").assert_outcomes(passed=1)
    left = {key for key, name in names.items() if Path(name).exists()}
    assert left == {"running", "another report", "no number"}


def test_numbers_of_one_thing_are_singular(repo: pytest.Pytester) -> None:
    declare(repo, "conv(missing('T')[None])", "bright_images(count=1, size=10)")
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_fraction=0.03)
        def test_net(): ...
        """
    )
    result = repo.runpytest("--pan-audit", "-W", "default")
    result.stdout.fnmatch_lines(
        [
            "  1 of 1 neuron in 1 layer is padding aware, on 1 image at theta 0.5",
            "Conv2d: 1 PAN among 1 neuron (100.00 %) in 1 layer, 1 image, theta 0.5",
            "audits: 1 of 1 expected (1 test); 1 audit made: 1 layer*1 of 1 image read",
        ]
    )


def test_the_page_says_how_outputs_were_read(repo: pytest.Pytester) -> None:
    repo.makeconftest(STRANGE)
    repo.makepyfile("def test_net(pan_audit): ...")
    result = repo.runpytest("--pan-audit", "--pan-probes=influence", "--pan-report=html")
    result.assert_outcomes(passed=1)
    assert "<p>Outputs read as logits of 15 classes" in Path("pan-report.html").read_text()
    result.stdout.fnmatch_lines(["*outputs: logits of 15 classes*"])
