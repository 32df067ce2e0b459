"""The paper's tables from audits: by arithmetic, and the command on small networks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from build import make_audit, make_influence
from click.testing import CliRunner
from image_files import paint
from torchvision import models

from pytest_pan.cli import main
from pytest_pan.records.measures import Measured
from pytest_pan.records.neurons import PAN_TYPES
from pytest_pan.reproduction import networks, text
from pytest_pan.reproduction.published import NETWORKS


def test_the_published_types_are_those_of_the_text() -> None:
    """Totals and shares that the paper's text gives: 81 of 3840, 2.1 %, and 58 of 3328, 1.7 %."""
    assert {name: each.count for name, each in NETWORKS.items()} == {
        "resnet50": 81,
        "mobilenet_v3_large": 193,
        "googlenet": 58,
    }
    assert all(len(each.types) == len(PAN_TYPES) == 15 for each in NETWORKS.values())


def test_tables_have_the_counts_of_the_audit_beside_the_published_ones() -> None:
    found = list(text.lines("net", make_audit(), NETWORKS["resnet50"]))
    audit = make_audit()
    neurons = sum(site.channels for site in audit.sites)
    all_layers = next(line for line in found if "all layers" in line)
    assert f"{audit.pan_count} of {neurons:,}" in all_layers
    assert all_layers.endswith("published 81 of 3,840 (2.11 %)")
    heads, measured, published = found[found.index("  Table 2: PANs by type") + 1 :][:3]
    assert heads.split() == list(PAN_TYPES)
    assert measured.split()[:-1] == [str(count) for count in audit.type_counts.values()]
    assert published.split()[:-1] == [str(count) for count in NETWORKS["resnet50"].types]


def test_classes_beyond_seven_percent_are_supported_ones_by_their_odds() -> None:
    odds = [0.90, 0.94, 1.0, 1.06, 1.2, 2.0]
    pan = make_influence(log_odds=tuple(map(math.log, odds)))
    made = make_audit(influence=(pan,), classes=tuple("abcdef"))
    support = dict.fromkeys("abcde", 5.0) | {"f": 0.1}
    shift = Measured(measure="log_odds_shift", value=0.2, support=support)
    audit = replace(made, measures={**made.measures, "log_odds_shift": shift})
    found = list(text.lines("net", audit, None))
    at = next(i for i, line in enumerate(found) if "Table 3" in line)
    assert found[at + 1].strip() == "below 1: 1: a 0.90"
    assert found[at + 2].strip() == "above 1: 1: e 1.20"
    counted = next(line for line in found if "classes below" in line)
    assert "2 classes below -0.05, 3 above 0.05" in counted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade in range(4):
        paint(tmp_path / "images" / f"{shade}.png", 60 * shade)
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["reproduce", *map(str, arguments)])
    return result.exit_code, result.output


def test_missing_weights_are_named_with_what_to_do_and_nothing_is_downloaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))
    code, output = run("--images", folder / "images")
    assert code == 1
    for name, file in (("resnet50", "resnet50-0676ba61.pth"), ("googlenet", "googlenet-")):
        assert f"{name}: no weights. Put {file}" in output
    assert not (folder / "hub").exists()


def test_weights_of_a_file_are_loaded_into_the_network_of_that_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = models.mobilenet_v3_large()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    loaded = networks.network("mobilenet_v3_large", tmp_path / "net.pth", download=False)
    assert isinstance(loaded, torch.nn.Module)
    torch.testing.assert_close(loaded.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet5"], "resnet50"),
        (["--weights", "resnet50"], "NAME=FILE"),
        (["--weights", "resnet50=nowhere.pth"], "nowhere.pth, which is no file"),
    ],
)
def test_wrong_names_and_files_are_usage_errors(
    folder: Path, arguments: list[str], message: str
) -> None:
    code, output = run("--images", folder / "images", *arguments)
    assert code == 2
    assert message in output


@pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")
def test_another_network_of_the_users_is_audited_with_reports(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = (
        "import torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    conv = torch.nn.Conv2d(3, 4, 3, 8, padding=1)\n"
        "    pool = torch.nn.AdaptiveAvgPool2d(1)\n"
        "    return torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten())\n"
    )
    (folder / "tiny_of_mine.py").write_text(module)
    monkeypatch.chdir(folder)
    code, output = run(
        *("--images", "images", "--model", "tiny_of_mine:net"),
        *("--html", "page.html", "--json", "data.json"),
    )
    assert code == 0, output
    assert "of     4" in output
    assert "Figure 10" in output
    assert (folder / "page.html").exists()
    assert '"pytest-pan/2"' in (folder / "data.json").read_text()
