"""ResNet-50 on 64 photographs, audited twice by ``pytest --pan-audit``: seconds of each run.

    python benchmarks/cached.py [--network resnet50] [--images 64] [--repeat 3] [--influence]

A repo is written into a temporary folder: weights on disk (untrained, so nearly three in four
neurons are PANs and the HTML report has all its charts), JPEG files of 500x375, the default
transform, a JSON report. The first run makes the audit, the others find it, with and without an
HTML report. Beside them, what a process pays for importing torch and torchvision alone. Other
plugins that take their time (hypothesis) are left out. JSON on the standard output.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision import models

CONFTEST = """
import pytest, torch
from torchvision import models

@pytest.fixture(scope="session")
def pan_model():
    network = models.get_model("{network}")
    network.load_state_dict(torch.load("weights.pth", weights_only=True))
    return network

@pytest.fixture(scope="session")
def pan_images():
    return "images"
"""
TEST = """
import pytest

@pytest.mark.pan({limits})
def test_padding(): ...
"""
COMMAND = ("-m", "pytest", "-q", "-p", "no:hypothesispytest", "--pan-audit", "--pan-report=json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--influence", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder)
        limits = "max_pan_fraction=1.0" + ", max_log_odds_shift=99" * options.influence
        (repo / "conftest.py").write_text(CONFTEST.format(network=options.network))
        (repo / "test_padding.py").write_text(TEST.format(limits=limits))
        torch.manual_seed(0)
        torch.save(models.get_model(options.network).state_dict(), repo / "weights.pth")
        paint(repo / "images", options.images)
        first, report = seconds(repo, COMMAND), figures(repo)
        later = [seconds(repo, COMMAND) for _ in range(options.repeat)]
        html = [seconds(repo, (*COMMAND, "--pan-report=html")) for _ in later]
        same = figures(repo) == report
        imports = [seconds(repo, ("-c", "import torch, torchvision")) for _ in later]
        entries = [path.stat().st_size for path in repo.glob(".pytest_cache/d/pan/*/*.npz")]
    print(
        json.dumps(
            {
                "first": round(first, 1),
                "later": [round(one, 2) for one in later],
                "later, with HTML": [round(one, 2) for one in html],
                "imports alone": [round(one, 2) for one in imports],
                "same figures": same,
                "bytes": entries,
                "threads": torch.get_num_threads(),
            }
        )
    )


def paint(folder: Path, count: int) -> None:
    """Smooth random pictures, as large as ImageNet's usually are."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = torch.rand(1, 3, 48, 64, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, size=(375, 500), mode="bilinear")[0]
        pixels = (255 * fine).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg", quality=90)


def seconds(repo: Path, command: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run(  # noqa: S603, our own command
        [sys.executable, *command], cwd=repo, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def figures(repo: Path) -> object:
    """The report's audits, less whether they are cached."""
    audits = json.loads((repo / "pan-report.json").read_text())["audits"]
    return [{key: audit[key] for key in audit if key != "cached"} for audit in audits]


if __name__ == "__main__":
    main()
