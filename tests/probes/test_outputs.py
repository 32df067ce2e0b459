"""Outputs of any shape, with figures small enough to do by hand."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_pan.probes import outputs
from pytest_pan.probes.outputs import read
from pytest_pan.records.errors import InputError

LOGITS = torch.tensor([[3.0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 2]])
Inception = namedtuple("Inception", ["logits", "aux_logits"])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, torch.zeros(2, 3)),
        ["features", LOGITS],
        {"loss": torch.zeros(2, 1), "logits": LOGITS},
        {"out": LOGITS, "aux": torch.zeros(2, 7)},
        {"names": ["a", "b"], "scores": LOGITS},
        SimpleNamespace(logits=LOGITS),
        Inception(LOGITS, torch.zeros(2, 7)),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_found_wherever_models_put_them(output: Any) -> None:
    reading = read(output)
    assert (reading.task, reading.classes, len(reading)) == ("classification", 7, 2)
    assert torch.equal(reading.logits, LOGITS)


def test_a_users_function_picks_what_counts() -> None:
    reading = read({"deep": [None, LOGITS]}, pick=lambda output: output["deep"][1])
    assert torch.equal(reading.logits, LOGITS)


def test_a_model_that_writes_to_its_output_again_does_not_change_what_was_read() -> None:
    buffer = LOGITS.clone()
    reading = read(buffer)
    buffer.zero_()
    assert torch.equal(reading.logits, LOGITS)


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (3, "got int"),
        (None, "got NoneType"),
        ((), "got NoneType"),
        ({"names": ["a"]}, "got NoneType"),
        (torch.zeros(2, 7, dtype=torch.long), "got torch.int64 tensor"),
        (torch.zeros(7), r"got shape \(7,\)"),
        (torch.zeros(2, 3, 4), r"got shape \(2, 3, 4\)"),
        (torch.zeros(2, 0), r"got shape \(2, 0\)"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_with_what_is_allowed(output: Any, got: str) -> None:
    with pytest.raises(
        InputError, match=rf"{got}; allowed: .*\(N, K\) or \(N, K, H, W\)"
    ) as caught:
        read(output)
    assert "pan_outputs" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("segmentation", (2, 7)),
        ("detection", (2, 7)),
        ("detection", (2, 3, 4, 4)),
        ("classification", (2, 3, 4, 4)),
    ],
)
def test_outputs_of_another_task_than_asked_for_are_refused(
    task: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=f"do not match task {task}.*allowed: task auto or "):
        read(torch.zeros(shape), task)


def test_the_logits_of_a_network_that_ends_in_a_1x1_map_are_a_classification() -> None:
    assert read(LOGITS[:, :, None, None]).task == "classification"
    assert read(LOGITS[:, :, None, None], "segmentation").task == "segmentation"


def test_a_prediction_flips_where_the_largest_logit_is_another() -> None:
    after = read(torch.tensor([[1.0, 3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 5]]))
    assert outputs.flips(read(LOGITS), after).tolist() == [1, 0]
    assert outputs.distances(read(LOGITS), after).tolist() == [4, 3]


def test_the_first_class_is_lost_from_the_top_five_when_five_others_pass_it() -> None:
    after = torch.tensor([[0.0, 9, 9, 9, 9, 0, 0], [9, 9, 9, 9, 9, 1, 2]])
    assert outputs.top5_lost(read(LOGITS), read(after)).tolist() == [False, True]


def test_a_tie_of_all_classes_loses_nothing_from_the_top_five() -> None:
    level = read(torch.zeros(3, 1000, dtype=torch.bfloat16))
    assert outputs.top5_lost(level, level).tolist() == [False] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_is_counted_in_double(dtype: torch.dtype) -> None:
    shares = outputs.probabilities(read(LOGITS.to(dtype)))
    torch.testing.assert_close(shares, LOGITS.double().softmax(1))


def test_a_single_score_is_a_yes_or_no_in_images_and_in_pixels() -> None:
    scores = torch.tensor([[-1.0], [2.0]])
    reading, changed = read(scores), read(-scores)
    torch.testing.assert_close(outputs.probabilities(reading), scores.double().sigmoid())
    assert outputs.flips(reading, changed).tolist() == [1, 1]
    maps = (s[:, :, None, None].expand(2, 1, 4, 6) for s in (scores, -scores))
    pixels, others = (read(each, "segmentation") for each in maps)
    torch.testing.assert_close(outputs.probabilities(pixels), scores.double().sigmoid())
    assert outputs.flips(pixels, others).tolist() == [24, 24]
    assert sum(outputs.by_distance(pixels, others)[0]) == 0


def test_a_multilabel_sample_flips_once_however_many_of_its_classes_do() -> None:
    before = read(torch.tensor([[1.0, -1, 1], [1, 1, 1]]), "multilabel")
    after = read(torch.tensor([[-1.0, 1, 1], [1, 1, 2]]), "multilabel")
    assert outputs.flips(before, after).tolist() == [1, 0]
    torch.testing.assert_close(outputs.probabilities(before), before.logits.double().sigmoid())


def test_embeddings_have_a_cosine_distance_and_no_classes() -> None:
    before = read(torch.tensor([[1.0, 0], [1, 1], [0, 0], [3, 4]]), "embedding")
    after = read(torch.tensor([[0.0, 2], [2, 2], [0, 0], [-3, -4]]), "embedding")
    distances = outputs.distances(before, after)
    torch.testing.assert_close(distances, torch.tensor([1.0, 0, 0, 2], dtype=torch.float64))
    assert before.classes is outputs.probabilities(before) is outputs.flips(before, after) is None


@pytest.mark.parametrize("size", [(40, 33), (7, 9), (12, 12), (1, 5)])
def test_agreement_by_distance_is_that_of_a_loop_over_the_pixels(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, *size, generator=generator) for _ in range(2))
    kept, pixels = [0] * 16, [0] * 16
    half = -(-min(size) // 2)
    for image in range(3):
        for y in range(size[0]):
            for x in range(size[1]):
                depth = min(y, x, size[0] - 1 - y, size[1] - 1 - x)
                ring = int(16 * depth / half)
                pixels[ring] += 1
                kept[ring] += int(a[image, :, y, x].argmax() == b[image, :, y, x].argmax())
    found = outputs.by_distance(read(a, "segmentation"), read(b, "segmentation"))
    assert [part.tolist() for part in found] == [kept, pixels]
    shares = read(a).logits.double().softmax(1).mean((2, 3))
    torch.testing.assert_close(outputs.probabilities(read(a, "segmentation")), shares)


def detections(*boxes: tuple[tuple[float, ...], int, float]) -> list[dict[str, Tensor]]:
    """One image with these boxes, labels, scores."""
    corners = torch.tensor([box for box, _, _ in boxes]).reshape(-1, 4)
    labels = torch.tensor([label for _, label, _ in boxes], dtype=torch.long)
    return [{"boxes": corners, "labels": labels, "scores": torch.tensor([s for *_, s in boxes])}]


CAT, DOG = ((0.0, 0.0, 10.0, 10.0), 1, 0.75), ((20.0, 20.0, 30.0, 30.0), 2, 0.5)


@pytest.mark.parametrize(
    ("after", "distance", "flips"),
    [
        ([CAT, DOG], 0, 0),
        ([DOG, CAT], 0, 0),
        ([((1.0, 0.0, 11.0, 10.0), 1, 0.5), DOG], 0.25, 0),
        ([((8.0, 0.0, 18.0, 10.0), 1, 0.75), DOG], 1.5, 2),
        ([CAT], 0.5, 1),
        ([((0.0, 0.0, 10.0, 10.0), 3, 0.75), DOG], 1.5, 2),
        ([CAT, DOG, ((50.0, 0.0, 60.0, 10.0), 1, 0.25)], 0.25, 0),
        ([], 1.25, 2),
    ],
    ids=["same", "reordered", "nudged", "away", "dropped", "relabelled", "unsure", "nothing"],
)
def test_boxes_are_matched_by_class_and_overlap(after: Any, distance: float, flips: int) -> None:
    before, changed = read(detections(CAT, DOG)), read(detections(*after))
    assert before.task == "detection"
    for pair in ((before, changed), (changed, before)):
        assert outputs.distances(*pair).tolist() == [distance]
        assert outputs.flips(*pair).tolist() == [flips]


def test_what_is_not_finite_is_told_by_sample() -> None:
    bad = LOGITS.clone()
    bad[1, 4] = float("nan")
    assert outputs.finite(read(bad)).tolist() == [True, False]
    assert torch.equal(outputs.select(read(bad), torch.tensor([True, False])).logits, LOGITS[:1])
    boxes = detections(CAT) + detections(((float("nan"), 0.0, 1.0, 1.0), 1, 0.9))
    assert outputs.finite(read(boxes)).tolist() == [True, False]
