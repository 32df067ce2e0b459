"""Class scores that are probabilities already are used as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import bright_images, conv, missing
from torch import Tensor, nn

from pytest_pan import Audit, audit
from pytest_pan.probes.outputs import predictions, probabilities, read
from pytest_pan.probes.scores import FormCheck, in_form

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3


def form_of(*outputs: Tensor, task: str = "auto") -> str:
    check = FormCheck(task)
    for output in outputs:
        check.add(read(output, task))
    return check.form


@pytest.mark.parametrize(
    ("outputs", "form"),
    [
        (LOGITS, "logits"),
        (LOGITS.softmax(1), "probabilities"),
        (LOGITS.softmax(1).half(), "probabilities"),
        (LOGITS.softmax(1).bfloat16(), "probabilities"),
        (LOGITS.sigmoid(), "independent probabilities"),
        (LOGITS[:, :1].sigmoid(), "independent probabilities"),
        (torch.zeros(40, 5), "logits"),
        (LOGITS.softmax(1) * 1.01, "logits"),
    ],
    ids=["logits", "softmax", "half", "bfloat16", "sigmoid", "one class", "untrained", "beyond 1"],
)
def test_the_form_follows_from_all_values(outputs: Tensor, form: str) -> None:
    assert form_of(*outputs.split(16)) == form


def test_one_batch_that_looks_like_probabilities_does_not_decide() -> None:
    assert form_of(LOGITS.softmax(1), LOGITS) == "logits"


def test_scores_in_the_unit_range_stay_logits_where_the_task_is_classification() -> None:
    assert form_of(LOGITS.sigmoid(), task="classification") == "logits"
    assert form_of(LOGITS.softmax(1), task="classification") == "probabilities"


def test_images_that_are_not_finite_do_not_count() -> None:
    broken = LOGITS.softmax(1)
    broken[3] = torch.nan
    assert form_of(broken) == "probabilities"


def test_probabilities_and_predictions_are_those_of_the_logits_they_came_from() -> None:
    for squash, task in ((lambda x: x.softmax(1), "auto"), (torch.sigmoid, "multilabel")):
        logits, reading = read(LOGITS, task), read(squash(LOGITS), task)
        squashed = in_form(reading, form_of(squash(LOGITS), task=task))
        ours, theirs = probabilities(squashed), probabilities(logits)
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert torch.equal(predictions(squashed), predictions(logits))  # type: ignore[arg-type]


def network(*last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layer = conv(torch.cat([missing("T")[None], torch.randn(7, 1, 3, 3)]))
    body = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with torch.no_grad():
        body[3].weight.mul_(6)
    return nn.Sequential(*body, *last)


def examined(model: nn.Module, **settings: object) -> Audit:
    return audit(model, bright_images(40), probes=("influence",), device="cpu", **settings)


def test_a_final_softmax_changes_no_odds_and_is_said() -> None:
    plain, squashed = examined(network()), examined(network(nn.Softmax(1)))
    np.testing.assert_allclose(
        squashed.influence[0].log_odds, plain.influence[0].log_odds, atol=1e-5
    )
    assert plain.influence[0].outputs == "logits of 4 classes"
    assert squashed.influence[0].outputs == "probabilities of 4 classes"
    assert any("no softmax or sigmoid was applied" in note for note in squashed.notes)


def test_classes_that_no_image_gives_a_probability_have_no_odds() -> None:
    model = network()
    with torch.no_grad():
        model[3].bias[2] = -200
    found = examined(model)
    odds = found.influence[0].log_odds
    assert [bool(np.isnan(value)) for value in odds] == [False, False, True, False]
    shift = found.measures["log_odds_shift"]
    assert set(shift.classes) == {"0", "1", "3"}
    assert shift.value == max(shift.classes.values())
    assert any("no odds of 1 of 4 classes" in note for note in found.notes)


class Maps(nn.Module):
    """A flow field, a list of feature maps, or maps under a key."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 3, 2, padding=1)

    def forward(self, x: Tensor) -> object:
        one = self.first(x)
        two = self.second(one)
        kinds = {"tensor": one, "list": [one, two], "out": {"out": one, "aux": two}}
        return kinds[self.kind]


@pytest.mark.parametrize("kind", ["tensor", "list"])
def test_maps_whose_second_axis_may_be_anything_have_no_odds(kind: str) -> None:
    torch.manual_seed(0)
    found = examined(Maps(kind), theta=0.2)
    assert not found.influence[0].log_odds
    assert found.influence[0].prediction_flips is None
    assert found.influence[0].outputs == "feature maps of shape 4x16x16"
    assert any("pan_task = segmentation" in note for note in found.notes)
    assert "log_odds_shift" not in found.measures
    assert found.measures["sample_influence"].value > 0


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("out", {}),
        ("tensor", {"task": "segmentation"}),
        ("list", {"outputs": lambda maps: maps[0]}),
    ],
)
def test_maps_that_are_named_as_logits_are_a_segmentation(
    kind: str, settings: dict[str, object]
) -> None:
    torch.manual_seed(0)
    found = examined(Maps(kind), theta=0.2, **settings)
    assert found.influence[0].outputs == "logits of 4 classes of every pixel"
    assert found.influence[0].prediction_flips is not None


def test_a_control_of_too_few_neurons_gives_no_excess_and_no_rank() -> None:
    """Eight PANs of nine neurons: each draw has one neuron."""
    kernel = torch.cat([missing(side)[None] for side in ("T", "B", "L", "R") * 2])
    blind = torch.zeros(1, 1, 3, 3)
    blind[0, 0, 1, 1] = 1
    layer = conv(torch.cat([kernel, blind]))
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 3))
    found = examined(model)
    control = found.measures["log_odds_shift"].control
    assert (control.drawn, control.pans, control.is_fair) == (1, 8, False)
    assert "log_odds_excess" not in found.measures
    assert control.to_json()["excess"] is control.to_json()["rank"] is None
