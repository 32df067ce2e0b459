"""One audit in several processes: the same figures as in one, and no silence about a lost one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CONFTEST = """
    import os, signal
    import pytest, torch
    from torch import nn
    from pytest_pan.probes.activations import pilots

    pilots.PILOT = 8192  # so that a few hundred images are many

    class Net(nn.Module):
        '''Small whole numbers all through, so that sums are exact in any order.'''

        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.first, self.second = nn.Conv2d(2, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)
            for layer in (self.first, self.second):
                whole = torch.randint(-2, 3, layer.weight.shape, generator=generator)
                layer.weight.data = whole.float()
                layer.bias.data.zero_()

        def forward(self, x):
            lose(x)
            return self.second(self.first(x).clamp(0, 15)).mean((2, 3))

    def lose(x):
        if os.environ.get("RANK") == os.environ.get("LOSE", "none") and (x == 100).any():
            if os.environ["HOW"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("this one cannot be read")

    @pytest.fixture(scope="session")
    def pan_model():
        return Net()

    @pytest.fixture(scope="session")
    def pan_images():
        generator, count = torch.Generator().manual_seed(1), int(os.environ["IMAGES"])
        images = torch.randint(1, 9, (count, 2, 12, 12), generator=generator)
        images[count // 2 :, 0, 0, 0] = 100
        return torch.utils.data.TensorDataset(images.float(), torch.arange(count) % 8)
"""
FAILS_ON_ONE = """
    @pytest.fixture(scope="session")
    def pan_model():
        if os.environ["RANK"] == "1":
            raise FileNotFoundError("weights.pt is not on this machine")
        return Net()
"""
TEST = """
    import pytest

    @pytest.mark.pan(max_pan_fraction=1.0, max_log_odds_shift=100, max_intrusion_flips=1000)
    def test_padding(): ...
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    (tmp_path / "test_padding.py").write_text(textwrap.dedent(TEST))
    return tmp_path


def run(
    repo: Path, ranks: int, *arguments: str, images: int, **more: str
) -> subprocess.CompletedProcess[str]:
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone"]
    launcher = [sys.executable, *(several if ranks > 1 else [])]
    command = [*launcher, "-m", "pytest", "--pan-audit", "--pan-theta=0.15", *arguments]
    return subprocess.run(
        [*command, "--pan-report=json", "--pan-batch-size=8"],
        cwd=repo,
        env=os.environ | {"OMP_NUM_THREADS": "1", "IMAGES": str(images), **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def audit(repo: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repo / "pan-report.json").read_text())["audits"][0]
    return found


SHARES = ("nascent_fraction", "downstream_fraction")
FIGURES = (
    "images",
    "sites",
    "neurons",
    "measures",
    "influence",
    "findings",
    "skips",
    "partial",
)


def without_subsamples(alone: dict[str, Any], *, like: dict[str, Any]) -> None:
    """Drops what only one process has: the PANs' stability, and intervals of their numbers."""
    for audited in (alone, like):
        del audited["findings"]["pans"]["convergence"]
        for neuron in audited["neurons"]:
            del neuron["stability"]
    for name in ("pan_count", "pan_fraction", "layer_pan_fraction", "pan_floor", *SHARES):
        for audited in (alone, like):
            for key in ("interval", "intervals"):
                audited["measures"].get(name, {}).pop(key, None)


@pytest.mark.parametrize(
    ("ranks", "images", "memory"),
    [
        (2, 60, 1 << 30),  # 8 batches, 4 each
        (4, 68, 1 << 30),  # 9 batches: 3, 2, 2, 2, the last one short
        (4, 20, 1 << 30),  # 3 batches: one process has none
        (2, 300, 1),  # counted between edges
        (4, 300, 1),
        (2, 216, 1),  # 27 batches, and a process has its last one before there are edges
        (4, 216, 1),
    ],
)
def test_several_processes_find_to_the_last_bit_what_one_finds(
    repo: Path, ranks: int, images: int, memory: int
) -> None:
    (repo / "pytest.ini").write_text(f"[pytest]\npan_memory = {memory}\n")
    assert run(repo, 1, images=images).returncode == 0
    alone = audit(repo)
    (repo / "pan-report.json").unlink()
    done = run(repo, ranks, images=images)
    assert done.returncode == 0, done.stdout + done.stderr
    together = audit(repo)
    assert alone["neurons"]
    assert alone["measures"]["log_odds_shift"]["value"] > 0
    without_subsamples(alone, like=together)
    for key in FIGURES:
        assert together[key] == alone[key], key
    assert done.stdout.count("padding audit") == 1


def test_draws_of_noise_and_files_left_out_are_those_of_one_process(repo: Path) -> None:
    (repo / "pytest.ini").write_text("[pytest]\npan_mode = noise\n")
    found = []
    for ranks in (1, 2):
        assert run(repo, ranks, images=60).returncode == 0
        found.append(audit(repo))
    assert found[0]["influence"] == found[1]["influence"]


def test_a_fixture_that_fails_in_one_process_only_is_heard_of(repo: Path) -> None:
    with (repo / "conftest.py").open("a") as conftest:
        conftest.write(textwrap.dedent(FAILS_ON_ONE))
    done = run(repo, 2, images=20)
    assert done.returncode != 0
    assert "weights.pt is not on this machine" in done.stdout + done.stderr


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_error_of_one_process_ends_all_with_its_message(repo: Path, rank: str) -> None:
    done = run(repo, 2, images=64, LOSE=rank, HOW="raise")
    assert done.returncode != 0
    assert "this one cannot be read" in done.stdout
    if rank == "1":
        assert "rank 1 failed" in done.stdout
    assert audit(repo)["partial"]


def test_a_killed_process_fails_the_run_by_name(repo: Path) -> None:
    done = run(repo, 2, images=64, LOSE="1", HOW="kill")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "rank 1" in said or "local_rank: 1" in said
    assert "SIGKILL" in said or "is gone" in said


def test_processes_of_torchrun_and_of_xdist_at_once_are_refused(repo: Path) -> None:
    pytest.importorskip("xdist")
    done = run(repo, 2, "-n", "2", images=20)
    assert done.returncode != 0
    assert "use one of them" in done.stdout + done.stderr
