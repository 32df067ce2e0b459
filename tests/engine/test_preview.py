"""pytest-pan sites: what an audit would examine, without images."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from commands import refused, run
from nets import second_row

import pytest_pan
from pytest_pan.engine.preview import preview

MODEL = """
import torch

def strided(stride=2, channels=3):
    print("building")
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 5, 3, stride=stride, padding=1),
        torch.nn.Conv2d(5, 7, 1),
        torch.nn.Conv2d(7, 2, 3, padding=1, padding_mode="reflect"),
    )
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory, which is on no path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only_here.py").write_text(MODEL)
    monkeypatch.delitem(sys.modules, "only_here", raising=False)
    return "only_here"


def test_sites_are_those_of_an_audit_on_images_of_that_size() -> None:
    model = torch.nn.Sequential(second_row(), torch.nn.Conv2d(1, 2, 1))
    audit = pytest_pan.audit(model, torch.rand(50, 1, 11, 10), device="cpu")
    found = preview(model, (1, 11, 10)).to_json()
    assert found["sites"] == [site.to_json() for site in audit.sites]
    assert found["skips"] == [skip.to_json() for skip in audit.skips]
    assert found["neurons"] == audit.neuron_count


def test_sites_prints_a_table_with_what_is_uneven_and_what_is_not_examined(here: str) -> None:
    result = run("sites", f"{here}:strided", "--size", "16x17")
    assert result.exit_code == 0
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "0 5 3x3 2x2 8x9 1 1 1 1 1 0 1 1 uneven" in rows
    assert "2 2 3x3 1x1 8x9 1 1 1 1 1 1 1 1 reflect" in rows
    assert "1 1x1 kernel" in rows
    assert "2 layers with 7 neurons would be examined, 1 would not" in result.stdout
    assert "uneven: 1 layer consumes" in result.stdout


def test_sites_as_json_is_nothing_but_json_and_takes_arguments(here: str) -> None:
    arguments = ("--arguments", '{"stride": 1, "channels": 4}', "--channels", 4, "--json")
    found = json.loads(run("sites", f"{here}:strided", "--size", 12, *arguments).stdout)
    assert found["shape"] == [4, 12, 12]
    assert [site["map"] for site in found["sites"]] == [[12, 12], [12, 12]]
    assert found["uneven"] == []
    assert found["model"]["name"] == "strided"


def test_sites_prints_uneven_pools_dropped_cells_and_the_nearest_even_sizes() -> None:
    """ResNet-18 at 224, as in Mind the Pad: 225 is even."""
    result = run("sites", "torchvision.models:resnet18", "--size", 224)
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "pool maxpool: consumed 1 0 1 0" in rows
    assert "nearest sizes without any: 161x161, 193x193, 225x225, 257x257" in rows
    assert "layer2.0.downsample.0 1 1" in rows


def test_sites_that_are_none_are_no_success() -> None:
    result = run("sites", "torch.nn:Identity", "--size", 8)
    assert result.exit_code == 1
    assert "0 layers with 0 neurons would be examined" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing_of_that_name:x",), ("ModuleNotFoundError", "nothing_of_that_name")),
        (("torch.nn:NoSuchLayer",), ("torch.nn:NoSuchLayer", "NoSuchLayer")),
        (("torch",), ("'torch'", "'module:callable'")),
        (("torch:ones",), ("torch:ones", "TypeError")),
        (("nets:second_row", "--channels", "3"), ("3x224x224", "RuntimeError", "--channels")),
        (("nets:second_row", "--arguments", "[1]"), ("--arguments", "'[1]'", "JSON object")),
        (("nets:second_row", "--arguments", "{"), ("--arguments", "JSON object")),
        (("nets:second_row", "--arguments", '{"no": 1}'), ("TypeError", "'no'")),
        (("nets:second_row", "--size", "0"), ("--size", "'0'", "HxW")),
        (("nets:second_row", "--size", "8x8x8"), ("--size", "HxW")),
    ],
)
def test_sites_of_what_cannot_be_run_says_so_in_a_line(
    arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert refused(run("sites", *arguments), *words)
