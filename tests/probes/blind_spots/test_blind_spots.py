"""Scores by place against symmetry, arithmetic and scipy."""

from __future__ import annotations

import json
import math

import pytest
import torch
from classifiers import noise
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pytest_pan import audit
from pytest_pan.probes.blind_spots.places import Axis, Places
from pytest_pan.probes.blind_spots.records import BlindSpotFindings
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit
from pytest_pan.stats import intervals

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

SIDE = 28
STEP = 4
OBJECT = SIDE - 4 * STEP


class Grid(nn.Module):
    """Finds the object's place on the canvas and answers by it; a padded layer is examined."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer, self.conv = answer, nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, images: Tensor) -> object:
        self.conv(images)
        corners = []
        for image in images:
            empty = image[0] - image[0].flatten().mode().values
            rows, columns = empty.abs().sum(1).nonzero(), empty.abs().sum(0).nonzero()
            corners.append((int(rows[0]), int(columns[0])) if len(rows) else (0, 0))
        return self.answer(corners, images)  # type: ignore[operator]


def audited(model: nn.Module, images: object = None, **given: object) -> Audit:
    images = noise(side=SIDE).float() if images is None else images
    return audit(model, images, probes=("blind_spots",), **given)  # type: ignore[arg-type]


def findings(found: Audit) -> BlindSpotFindings:
    result = found.findings["blind_spots"]
    assert isinstance(result, BlindSpotFindings)
    return result


def classifier(mode: str, stride: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride, padding=2, padding_mode=mode),
        nn.ReLU(),
        nn.Conv2d(4, 8, 5, stride, padding=2, padding_mode=mode),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()


def test_with_circular_padding_all_places_score_alike_and_with_zeros_they_do_not() -> None:
    images = noise(side=SIDE)
    circular, zeros = (
        findings(audited(classifier(mode), images)) for mode in ("circular", "zeros")
    )
    assert circular.step == (STEP, STEP)
    assert circular.depth.value == pytest.approx(0, abs=1e-9)
    assert circular.gap.value == pytest.approx(0, abs=1e-9)
    assert circular.gap.deviation < 1e-9
    assert zeros.gap.deviation > 1e-5


def test_a_planted_dark_corner_gives_depth_and_gap_by_arithmetic() -> None:
    """Class 0 has odds e^2 everywhere but at the lower right place, where they are 1."""

    def answer(corners: list[tuple[int, int]], images: Tensor) -> Tensor:
        odds = [0.0 if at == (4 * STEP, 4 * STEP) else 2.0 for at in corners]
        return torch.tensor([[each, 0.0] for each in odds]) + 0 * images.sum()

    labels = torch.tensor([0, 1] * 20)
    found = audited(Grid(answer), TensorDataset(noise(side=SIDE).float(), labels))
    fall = math.log(0.5) + math.log1p(math.exp(-2))
    assert findings(found).lowest == (4, 4)
    assert found.measures["blind_spot_depth"].value == pytest.approx(fall, abs=1e-6)
    assert found.measures["border_gap"].value == pytest.approx(fall / 16, abs=1e-6)
    assert findings(found).accuracy is not None
    assert findings(found).accuracy[0][0] == pytest.approx(0.5)  # type: ignore[index]


def test_the_class_is_that_of_all_places_not_of_the_centre() -> None:
    def answer(corners: list[tuple[int, int]], images: Tensor) -> Tensor:
        at_centre = [at == (2 * STEP, 2 * STEP) for at in corners]
        rows = [[3.0, 0.0] if each else [0.0, 1.0] for each in at_centre]
        return torch.tensor(rows) + 0 * images.sum()

    found = findings(audited(Grid(answer)))
    assert found.lowest == (2, 2)
    assert found.depth.value == 0
    assert found.gap.value == pytest.approx(
        (math.log1p(math.exp(3)) - math.log1p(math.exp(-1))) / 9
    )


def test_segmentation_agrees_with_the_object_at_the_centre_but_near_the_border() -> None:
    """The class of a pixel is 1 within two pixels of the border of the image, else 0."""

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            inner = torch.zeros(SIDE, SIDE)
            inner[2:-2, 2:-2] = 1
            near = 1 - inner.expand(len(images), -1, -1)
            return {"out": torch.stack([inner + 0 * near, near], 1) + 0 * self.conv(images)}

    found = findings(audited(Pixels()))
    assert found.kind == "pixels"
    assert [ring.agreement for ring in found.rings][:4] == [0, 0, 1, 1]
    corner = (OBJECT**2 - (OBJECT - 2) ** 2) / OBJECT**2
    assert found.scores[0][0] == pytest.approx(1 - corner)
    side = 2 / OBJECT
    assert found.gap.value == pytest.approx(-(4 * corner + 12 * side) / 16)


def test_the_box_on_the_object_counts_and_boxes_elsewhere_do_not() -> None:
    def answer(corners: list[tuple[int, int]], images: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for top, left in corners:
            at_left = left == 0
            boxes = [[left, top, left + OBJECT, top + OBJECT], [-9, -9, -9, -9]]
            found.append(
                {
                    "boxes": torch.tensor(boxes, dtype=torch.float32),
                    "labels": torch.tensor([3, 3]),
                    "scores": torch.tensor([0.4 if at_left else 0.9, 1.0]),
                }
            )
        return found

    found = findings(audited(Grid(answer)))
    assert found.kind == "box"
    assert found.scores[1] == pytest.approx((0.4, 0.9, 0.9, 0.9, 0.9))
    assert found.gap.value == pytest.approx((5 * 0.4 + 11 * 0.9) / 16 - 0.9)


def test_intervals_are_students_and_that_of_the_least_mean_holds_for_all_places_at_once() -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double()
    units = torch.arange(40)
    one = intervals.of_signed_mean(values[:, 0], units)
    error = stats.sem(values[:, 0].numpy())
    assert one == pytest.approx(stats.t.interval(0.95, 39, float(values[:, 0].mean()), error))
    ends = [
        stats.t.interval(1 - 0.05 / 3, 39, float(each.mean()), stats.sem(each.numpy()))
        for each in values.T
    ]
    least = intervals.of_least_mean(values, units)
    assert least == pytest.approx((min(low for low, _ in ends), min(high for _, high in ends)))


@pytest.mark.parametrize(
    ("pixels", "stride", "expected"),
    [
        (224, 32, Axis(96, 32, True)),
        (299, 32, Axis(171, 32, True)),
        (28, 4, Axis(12, 4, True)),
        (32, 32, Axis(12, 5, False)),
        (512, 32, Axis(256, 64, True)),
    ],
)
def test_the_object_is_about_three_sevenths_and_its_step_a_multiple_of_the_stride(
    pixels: int, stride: int, expected: Axis
) -> None:
    assert Axis.of(pixels, stride) == expected


def test_the_object_reaches_all_four_ends_of_the_canvas() -> None:
    places = Places.of((28, 56), 4)
    canvas = places.stimuli(torch.ones(1, 28, 56), torch.zeros(1))
    height, width = places.side
    for cell, edge in ((0, (0, 0)), (24, (28 - height, 56 - width))):
        expected = torch.zeros(28, 56)
        expected[edge[0] : edge[0] + height, edge[1] : edge[1] + width] = 1
        torch.testing.assert_close(canvas[cell, 0], expected)


def test_few_objects_and_a_coarse_stride_are_said() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, 8, padding=1), nn.Flatten()).double()
    notes = " ".join(audited(net, noise(20, side=32)).notes)
    assert "20 objects, at least 30" in notes
    assert "5 pixels apart, no multiple of the total stride 8" in notes


def test_outputs_without_scores_give_a_note_and_no_measure() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1)).double()
    found = audited(net, noise(side=SIDE))
    assert any(note.startswith("blind_spots: feature maps") for note in found.notes)
    assert "border_gap" not in found.measures


def test_findings_survive_json() -> None:
    found = audited(classifier("zeros"), noise(side=SIDE))
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["blind_spots"] == found.findings["blind_spots"]
