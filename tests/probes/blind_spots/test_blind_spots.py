"""Scores by place against symmetry, arithmetic and scipy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from classifiers import noise
from hypothesis import given, strategies
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pytest_pan import audit
from pytest_pan.probes.blind_spots.chosen import ChosenImages
from pytest_pan.probes.blind_spots.places import Axis, Places
from pytest_pan.probes.blind_spots.records import BlindSpotFindings
from pytest_pan.probes.observer import Part
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


def audited(model: nn.Module, images: object = None, **settings: object) -> Audit:
    images = noise(side=SIDE).float() if images is None else images
    return audit(model, images, probes=("blind_spots",), **settings)  # type: ignore[arg-type]


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

    labels = torch.tensor([0, 1] * 16)
    found = audited(Grid(answer), TensorDataset(noise(32, SIDE).float(), labels))
    fall = math.log(0.5) + math.log1p(math.exp(-2))
    assert findings(found).lowest == (4, 4)
    assert found.measures["blind_spot_depth"].value == pytest.approx(fall, abs=1e-6)
    assert found.measures["border_gap"].value == pytest.approx(fall / 16, abs=1e-6)
    assert findings(found).accuracy is not None
    assert findings(found).accuracy[0][0] == pytest.approx(0.5)  # type: ignore[index]


def test_the_class_is_that_of_all_places_not_of_the_centre() -> None:
    def answer(corners: list[tuple[int, int]], images: Tensor) -> Tensor:
        at_centre = [at == (2 * STEP, 2 * STEP) for at in corners]
        rows = [[3.0, 0.0] if each else [0.0, 2.0] for each in at_centre]
        return torch.tensor(rows) + 0 * images.sum()

    found = findings(audited(Grid(answer)))
    assert found.lowest == (2, 2)
    assert found.depth.value == 0
    assert found.gap.value == pytest.approx(
        (math.log1p(math.exp(3)) - math.log1p(math.exp(-2))) / 9
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


class Padded(nn.Module):
    """A padded layer is examined, and what is answered does not depend on it."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer, self.conv = answer, nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, images: Tensor) -> object:
        self.conv(images)
        return self.answer(images)


def test_logits_and_their_probabilities_score_alike_without_another_probe() -> None:
    one = nn.Sequential(*classifier("zeros"), nn.Linear(8, 8).double())
    for weights in one[-1].parameters():
        nn.init.uniform_(weights, -20, 20, generator=torch.Generator().manual_seed(0))
    values = [
        audited(net, noise(side=SIDE)).measures["border_gap"].value
        for net in (one, nn.Sequential(one, nn.Softmax(1)))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert abs(values[0]) > 1e-5


def test_the_sigmoid_of_a_mask_agrees_where_the_mask_does() -> None:
    def mask(images: Tensor) -> Tensor:
        inner = torch.full((SIDE, SIDE), 4.0)
        inner[2:-2, 2:-2] = -4
        return inner + 0.01 * images

    scores = [
        findings(audited(Padded(answer), task="segmentation")).scores
        for answer in (mask, lambda images: mask(images).sigmoid())
    ]
    assert scores[0] == scores[1]
    assert scores[0][0][0] < 1 == scores[0][2][2]


def test_a_single_class_that_is_surely_absent_is_as_sure_at_every_place() -> None:
    """The odds of yes, far below 1, vary by place; the probability of no does not."""

    def absent(images: Tensor) -> Tensor:
        return images[:, :, :4].amax((2, 3)) - 60

    labels = torch.zeros(32, dtype=torch.long)
    found = findings(audited(Padded(absent), TensorDataset(noise(32, SIDE).float(), labels)))
    assert found.depth.value == pytest.approx(0, abs=1e-12)
    assert found.gap.value == pytest.approx(0, abs=1e-12)
    assert found.accuracy is None


def test_a_detector_that_finds_nothing_gives_a_note_and_no_measure() -> None:
    def nothing(images: Tensor) -> list[dict[str, Tensor]]:
        none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
        return [{**none, "scores": torch.zeros(0)} for _ in images]

    found = audited(Padded(nothing))
    assert "border_gap" not in found.measures
    assert any("no box on the object at any place" in note for note in found.notes)


def test_a_function_that_cannot_read_the_outputs_is_named_in_a_note() -> None:
    def pick(output: object) -> object:
        raise RuntimeError("no such key")

    notes = audited(classifier("zeros"), noise(side=SIDE), outputs=pick).notes
    assert "blind_spots: the outputs cannot be read: no such key" in notes


@pytest.mark.parametrize(("count", "has_interval"), [(29, False), (30, True)])
def test_thirty_objects_have_an_interval_and_fewer_say_so(count: int, has_interval: bool) -> None:
    found = audited(classifier("zeros"), noise(count, SIDE))
    assert (found.measures["border_gap"].interval is not None) == has_interval
    assert any("at least 30" in note for note in found.notes) != has_interval


def chosen(units: list[int], batches: list[int], seed: int = 0) -> list[int]:
    """Indices of the images that are chosen of images in batches."""
    context = SimpleNamespace(
        settings=SimpleNamespace(seed=seed),
        units=SimpleNamespace(of=lambda first, n: torch.tensor(units[first : first + n])),
    )
    kept, first = ChosenImages(context, 8), 0  # type: ignore[arg-type]
    for size in batches:
        kept.add(Part(first, first, torch.zeros(size, 1, 2, 2), None))
        first += size
    return [each.index for each in kept.images]


@given(
    units=strategies.lists(strategies.integers(0, 5), min_size=1, max_size=40),
    cut=strategies.integers(1, 7),
    seed=strategies.integers(0, 9),
)
def test_images_are_chosen_evenly_from_their_units_whatever_the_batches(
    units: list[int], cut: int, seed: int
) -> None:
    batches = [cut] * (len(units) // cut) + [len(units) % cut] * (len(units) % cut > 0)
    at = chosen(units, batches, seed)
    assert at == chosen(units, [len(units)], seed)
    taken, size = Counter(units[index] for index in at), Counter(units)
    assert len(at) == min(8, len(units))
    most = max(taken.values())
    assert all(taken[unit] >= min(size[unit], most - 1) for unit in size)


def test_findings_survive_json() -> None:
    found = audited(classifier("zeros"), noise(side=SIDE))
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["blind_spots"] == found.findings["blind_spots"]
