"""Read-outs of the position against planted networks and scipy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from pytest_pan import audit
from pytest_pan.probes.position.observer import split, stages
from pytest_pan.probes.position.records import ALL, IMAGE, PositionFindings, Readout
from pytest_pan.probes.position.targets import agreement, spearman, target_maps
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

SIDE = 28


class Planted(nn.Module):
    """Adds a map of the network's own to one channel of what a convolution reads."""

    def __init__(self, plane: Tensor, padding: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("plane", plane)
        self.conv = nn.Conv2d(2, 4, 3, padding=padding)
        with torch.no_grad():
            self.conv.weight[0] = 0
            self.conv.weight[0, 1, 1, 1] = 1

    def forward(self, images: Tensor) -> Tensor:
        plane = self.plane.expand(len(images), 1, -1, -1)  # type: ignore[operator]
        maps: Tensor = self.conv(torch.cat([images, plane], 1))
        return maps.mean((2, 3))


def noise(count: int = 40) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def audited(model: nn.Module, images: Tensor | None = None, **given: object) -> Audit:
    images = noise() if images is None else images
    return audit(model, images, probes=("position",), **given)  # type: ignore[arg-type]


def readout(found: Audit, source: str = ALL, padding: str = "own") -> Readout:
    findings = found.findings["position"]
    assert isinstance(findings, PositionFindings)
    result = findings.of(source, padding)
    assert result is not None
    return result


def test_a_network_that_writes_its_column_into_a_channel_gives_the_column() -> None:
    column = torch.linspace(0, 1, SIDE).expand(SIDE, SIDE)
    found = readout(audited(Planted(column)))
    assert found.spc["H"] > 0.999
    assert found.mae["H"] < 0.01
    assert abs(found.spc["V"]) < 0.5


def test_where_no_kernel_reads_the_padding_swapping_it_changes_nothing() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            middle = layer.weight[:, :, 1, 1].clone()
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = middle
    assert audited(net).measures["position_excess"].value == 0


def test_zeros_around_ones_tell_the_border_and_reflect_padding_does_not() -> None:
    """On constant images only the padding can tell where a cell lies."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.Conv2d(3, 3, 5, padding=2))
    images = torch.ones(40, 1, SIDE, SIDE) + torch.arange(40.0)[:, None, None, None] / 40
    found = audited(net, images)
    assert found.measures["position_spc"].value > 0.2
    assert readout(found, padding="reflect").constant == dict.fromkeys(
        ("H", "V", "G", "HS", "VS"), readout(found).images
    )
    assert found.measures["position_excess"].value == found.measures["position_spc"].value
    assert readout(found, IMAGE).spc["H"] == 0


def test_the_rank_correlation_is_scipys_and_that_of_a_constant_is_zero() -> None:
    targets = target_maps().flatten(1)
    draws = torch.Generator().manual_seed(0)
    predicted = torch.randint(0, 9, (3, 5, 784), generator=draws).double()
    theirs = [
        [stats.spearmanr(one, target).statistic for one, target in zip(image, targets, strict=True)]
        for image in predicted
    ]
    assert spearman(predicted, targets).tolist() == pytest.approx(np.array(theirs))
    flat = agreement(torch.full((1, 5, 784), 0.5) + 1e-6 * predicted[:1], targets)
    assert flat.spc.tolist() == [[0] * 5]
    assert flat.constant.all()
    above = agreement(targets[None] + 2, targets)
    assert above.mae[0].tolist() == pytest.approx((1 - targets).abs().mean(1).tolist())


def test_targets_lie_at_cell_centres() -> None:
    column, row, gaussian, stripes, _ = target_maps()
    assert column[3].tolist() == pytest.approx([(i + 0.5) / SIDE for i in range(SIDE)])
    assert torch.equal(row, column.T)
    assert gaussian[0, 0] == pytest.approx(math.exp(-2 * (0.5 - 0.5 / SIDE) ** 2 / (2 * 0.25)))
    assert stripes[0, 0] == pytest.approx(0.5 + 0.5 * math.sin(5 * math.pi * 0.5 / SIDE))


def test_images_of_one_photograph_are_not_both_trained_and_tested_on() -> None:
    units = torch.arange(60) // 3
    train, test, folds = split(units, seed=4)
    assert set(units[train].tolist()).isdisjoint(units[test].tolist())
    assert len(train) == len(test) == 30
    assert all(len(folds[units[train] == unit].unique()) == 1 for unit in units[train].unique())
    assert not torch.equal(split(units, seed=5)[0], train)


def test_stages_are_the_last_layers_before_the_map_size_changes() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(3, 4, 3, 2, padding=1),
        nn.Conv2d(4, 5, 3, 2, padding=1),
        nn.Conv2d(5, 6, 3, padding=1),
    )
    found, notes = stages(audit(net, noise()).sites)
    assert [site.name for site, _ in found] == ["1", "2", "4"]
    assert [len(channels) for _, channels in found] == [3, 4, 6]
    assert notes == []


def test_figures_depend_on_the_batch_size_by_rounding_only_and_survive_json() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 5, padding=2), nn.ReLU(), nn.Conv2d(3, 3, 5, 2, padding=2))
    found = audited(net, batch_size=7)
    other = audited(net, batch_size=32)
    for name in ("position_spc", "position_mae", "position_excess"):
        assert found.measures[name].value == pytest.approx(other.measures[name].value, abs=1e-4)
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["position"] == found.findings["position"]


def test_intervals_need_enough_independent_test_images() -> None:
    net = nn.Conv2d(1, 3, 5, padding=2)
    many = audited(net, noise(80)).measures["position_spc"]
    assert many.interval is not None
    assert many.interval[0] < many.value < many.interval[1]
    crops = audited(net, noise(80), groups=[i // 4 for i in range(80)])
    assert crops.measures["position_spc"].interval is None


def test_too_few_independent_images_give_a_note_and_no_measure() -> None:
    found = audited(nn.Conv2d(1, 3, 5, padding=2), noise(12))
    assert "position_spc" not in found.measures
    assert any("12 independent images, at least 16" in note for note in found.notes)
