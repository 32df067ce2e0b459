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
from conftest import Once

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

    def pictures(count):
        generator = torch.Generator().manual_seed(1)
        images = torch.randint(1, 9, (count, 2, 12, 12), generator=generator)
        images[count // 2 :, 0, 0, 0] = 100
        return torch.utils.data.TensorDataset(images.float(), torch.arange(count) % 8)

    @pytest.fixture(scope="session")
    def pan_images():
        return pictures(int(os.environ["IMAGES"]))
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


SITUATIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "full batches": (60, {}),  # 8 batches: 4, 4 or 2, 2, 2, 2
    "a short last batch": (68, {}),  # 9 batches: 5, 4 or 3, 2, 2, 2
    "a process without a batch": (20, {}),  # 3 batches
    "counted between edges": (300, {"memory": 1}),
    "done before there are edges": (216, {"memory": 1}),  # 27 batches
    "draws of noise": (60, {"mode": "noise"}),
}
"""Number of images, and settings."""
SEVERAL = f"""
    import pytest
    from conftest import pictures

    SITUATIONS = {SITUATIONS}

    @pytest.fixture(params=SITUATIONS)
    def pan_audit(request, pan, pan_model):
        count, settings = SITUATIONS[request.param]
        return pan(pan_model, pictures(count), name=request.param, **settings)
{TEST}"""


def fill(folder: Path, test: str = TEST) -> None:
    (folder / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    (folder / "test_padding.py").write_text(textwrap.dedent(test))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    fill(tmp_path)
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


def audit(repo: Path, place: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repo / "pan-report.json").read_text())["audits"][place]
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


def several(once: Once, ranks: int) -> Path:
    """The folder of a run of so many processes that audits in every situation."""

    def make(folder: Path) -> None:
        fill(folder, SEVERAL)
        done = run(folder, ranks, images=0)
        (folder / "stdout.txt").write_text(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr

    return once(f"torchrun-{ranks}", make)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_several_processes_find_to_the_last_bit_what_one_finds(
    once: Once, ranks: int, situation: str
) -> None:
    place = list(SITUATIONS).index(situation)
    alone, together = (audit(several(once, count), place) for count in (1, ranks))
    assert alone["model"]["name"] == situation
    assert alone["neurons"]
    assert alone["measures"]["log_odds_shift"]["value"] > 0
    without_subsamples(alone, like=together)
    for key in FIGURES:
        assert together[key] == alone[key], key


@pytest.mark.parametrize("ranks", [2, 4])
def test_one_of_several_processes_speaks_for_all(once: Once, ranks: int) -> None:
    assert (several(once, ranks) / "stdout.txt").read_text().count("padding audit") == 1


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


def test_processes_of_torchrun_and_of_xdist_at_once_are_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist")
    told = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in told.items():  # as torchrun tells each process
        monkeypatch.setenv(name, value)
    result = pytester.runpytest("--pan-audit", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pan-audit: *torchrun*xdist*; use one of them *"])
