"""Lines in mean maps against arithmetic, numpy and mirrored networks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from nets import bright_images, conv, missing
from torch import nn

from pytest_pan import audit
from pytest_pan.probes.lines.observer import MeanMap, excesses, strongest
from pytest_pan.probes.lines.report import lines
from pytest_pan.probes.table import read_audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def found_in(model: nn.Module, **given: Any) -> Any:
    return audit(model, bright_images(8), probes=("lines",), **given)


def test_a_planted_bright_last_row_is_named_and_as_far_off_as_arithmetic_says() -> None:
    found = found_in(conv(missing("B")[None]))
    (layer,) = found.findings["lines"].layers
    images = bright_images(8)
    assert layer.own.name == "last row"
    expected = float(images.mean() / images.std())
    assert layer.own.score == pytest.approx(expected, rel=0.05)
    assert found.measures["line_artifact"].value == layer.own.score
    assert layer.swapped.score < 0.5
    assert layer.zero_own.score == layer.zero_swapped.score == 0
    assert "the last row of" in next(lines(found))


@pytest.mark.parametrize(
    ("side", "name"), [("T", "first row"), ("L", "first column"), ("R", "last column")]
)
def test_a_mirrored_kernel_moves_the_line_to_the_mirrored_place(side: str, name: str) -> None:
    plain, mirrored = (
        found_in(conv(missing(each)[None])).findings["lines"].layers[0].own for each in ("B", side)
    )
    assert mirrored.name == name
    assert mirrored.score == pytest.approx(plain.score, rel=0.02)


def test_flipping_a_map_moves_its_strongest_line_exactly() -> None:
    mean = torch.randn(5, 8, 12, generator=torch.Generator().manual_seed(1)).double()
    deviation = torch.arange(1.0, 6.0).double()
    line = strongest(mean, deviation)
    flipped = strongest(mean.flip(1, 2), deviation)
    assert (flipped.axis, flipped.index) == (line.axis, line.lines - 1 - line.index)
    assert flipped.score == pytest.approx(line.score)


def test_without_padding_a_line_is_as_far_off_as_the_mean_of_its_cells_varies() -> None:
    noise = torch.randn(32, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    found = MeanMap.of(noise)
    rows, _ = excesses(found.mean, found.deviation)
    # 8 cells of 32 inputs in a line, 64 in the interior: var = 1/256 + 1/2048 outside of it
    expected = (1 / (32 * 8) + 1 / (32 * 64)) ** 0.5
    outside = torch.cat([rows[:, :4], rows[:, 12:]], 1)
    assert float(outside.square().mean().sqrt()) == pytest.approx(expected, rel=0.1)
    assert strongest(found.mean, found.deviation).score < 2 * expected


def test_mean_and_deviation_in_parts_are_those_of_numpy_on_the_whole() -> None:
    maps = torch.randn(7, 3, 8, 9, generator=torch.Generator().manual_seed(2)) + 5
    both = MeanMap.of(maps[:3]) + MeanMap.of(maps[3:])
    whole = maps.double().numpy()
    np.testing.assert_allclose(both.mean, whole.mean(0))
    np.testing.assert_allclose(both.deviation, whole[:, :, 2:6, 2:7].std((0, 2, 3)))


def test_channels_that_hardly_vary_are_counted_and_a_record_survives_json() -> None:
    kernel = torch.stack([missing("B"), missing("T"), missing("B"), 1e-5 * missing("B")])
    found = found_in(nn.Sequential(conv(kernel)))
    (layer,) = found.findings["lines"].layers
    assert (layer.left_out, layer.channels) == (1, 4)
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["lines"] == found.findings["lines"]


def test_a_map_without_an_interior_half_is_skipped_with_the_reason() -> None:
    model = nn.Sequential(conv(missing("B")[None]), nn.AvgPool2d(5), nn.Conv2d(1, 1, 3, padding=1))
    found = found_in(model)
    assert [each.site for each in found.findings["lines"].layers] == ["0"]
    assert any(s.what == "2" and "too small" in s.why for s in found.skips)
