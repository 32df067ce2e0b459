"""Audits of copies of photographs: in groups they say no more than the photographs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import bright_images, conv, missing
from torch import nn
from torch.utils.data import TensorDataset

from pytest_pan import Audit, audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

PHOTOGRAPHS = torch.rand(160, 1, 12, 12, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.arange(160) % 4


def network() -> nn.Sequential:
    """A random network whose PANs, like its other neurons, decide some of its predictions."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1))
    last = nn.Linear(8, 4)
    made = nn.Sequential(body, nn.AdaptiveMaxPool2d(1), nn.Flatten(), last).double()
    with torch.no_grad():
        last.weight.mul_(40)
        last.bias -= made(PHOTOGRAPHS).mean(0)
    return made


def examined(images: TensorDataset, groups: Any = None) -> Audit:
    return audit(
        network(), images, probes=("pans", "influence"), theta=0.45, draws=2, groups=groups
    )


@pytest.fixture(scope="module")
def plain() -> Audit:
    return examined(TensorDataset(PHOTOGRAPHS, LABELS))


def copies(first: int = 0) -> TensorDataset:
    """Every photograph and a copy that differs a little, after so many that are repeated exactly
    and therefore left out.
    """
    images = torch.cat([PHOTOGRAPHS[:first], PHOTOGRAPHS, PHOTOGRAPHS + 1e-9])
    return TensorDataset(images, torch.cat([LABELS[:first], LABELS, LABELS]))


@pytest.mark.parametrize("repeated", [0, 3])
def test_copies_of_photographs_in_groups_leave_every_interval_as_it_was(
    plain: Audit, repeated: int
) -> None:
    numbers = list(range(160))
    found = examined(copies(repeated), [*numbers[:repeated], *numbers, *numbers])
    assert (found.images["count"], found.images["groups"]) == (320, 160)
    wide = {name for name, m in plain.measures.items() if m.interval and m.interval[0] < m.value}
    assert wide >= {
        "pan_count",
        "log_odds_shift",
        "log_odds_excess",
        "mean_log_odds_shift",
        "log_odds_ratio",
        "prediction_divergence",
        "prediction_flips",
        "accuracy_drop",
    }
    for name in wide:
        factor = 2 if name == "prediction_flips" else 1  # the only number of images
        expected = [factor * end for end in plain.measures[name].interval or ()]
        assert found.measures[name].interval == pytest.approx(expected, rel=1e-5, abs=0), name


def test_copies_of_photographs_narrow_the_intervals_if_nobody_tells_that_they_are_copies(
    plain: Audit,
) -> None:
    found = examined(copies())
    for name in ("prediction_divergence", "prediction_flips", "accuracy_drop"):
        widths = []
        for made in (found, plain):
            low, high = made.measures[name].interval or (0, 0)
            widths.append((high - low) / (made.images["count"] if "flips" in name else 1))
        assert 0.6 < widths[0] / widths[1] < 0.8, name  # 1 / sqrt(2)


@pytest.mark.parametrize(("groups", "has_intervals"), [(15, False), (16, True)])
def test_fewer_than_sixteen_groups_give_no_interval(groups: int, has_intervals: bool) -> None:
    planted = conv(torch.cat([missing("T")[None], torch.ones(2, 1, 3, 3)]))
    model = nn.Sequential(planted, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = audit(
        model,
        bright_images(60),
        probes=("pans", "influence"),
        draws=2,
        groups=[image % groups for image in range(60)],
    )
    intervals = {name: measured.interval for name, measured in found.measures.items()}
    names = ["pan_count", "log_odds_shift", "prediction_flips", "nascent_fraction", "pan_floor"]
    assert [intervals[name] is not None for name in names] == [has_intervals] * len(names)
    assert any(intervals.values()) == has_intervals
    assert any("15 groups of images" in note for note in found.notes) != has_intervals
