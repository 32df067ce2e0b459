"""What 1, 2 and 4 processes of torchrun take for one audit, by gloo on this machine.

    python benchmarks/ranks.py [--network mobilenet_v2] [--images 256] [--memory 4]

Each process has one thread, so that as many processes as there are cores is the most that can
help. The time is the audit's own, without the start of the interpreters. What does not fit into
``--memory`` GiB is counted between edges.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

CONFTEST = """
    import sys
    sys.path.insert(0, {here!r})
    import pytest, torch
    from memory import Drawn
    from torchvision import models

    @pytest.fixture(scope="session")
    def pan_model():
        torch.manual_seed(0)
        return models.get_model({network!r})

    @pytest.fixture(scope="session")
    def pan_images():
        return Drawn({images})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--memory", type=float, default=4)
    options = parser.parse_args()
    print("| processes | audit, s | of one process |\n|---|---|---|")
    alone = 0.0
    for ranks in (1, 2, 4):
        took = seconds(ranks, options.network, options.images, options.memory)
        alone = alone or took
        print(f"| {ranks} | {took:.1f} | {took / alone:.2f} |", flush=True)


def seconds(ranks: int, network: str, images: int, memory: float) -> float:
    here = str(Path(__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        code = CONFTEST.format(here=here, network=network, images=images)
        Path(folder, "conftest.py").write_text(textwrap.dedent(code))
        Path(folder, "test_it.py").write_text("def test_it(pan_audit): ...\n")
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone"]
        audit = [
            "-m",
            "pytest",
            "--pan-audit",
            "--pan-report=json",
            "-o",
            f"pan_memory={round(memory * 2**30)}",
        ]
        command = [sys.executable, *launcher, *audit]
        subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
        report = json.loads(Path(folder, "pan-report.json").read_text())
    return float(sum(report["audits"][0]["seconds"].values()))


if __name__ == "__main__":
    main()
