"""Consistency under rolls against brute force and the symmetry of circular padding."""

from __future__ import annotations

import json

import pytest
import torch
from classifiers import network, noise, tops
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pytest_pan import audit
from pytest_pan.probes import advice
from pytest_pan.probes.shift.observer import NO_CLASSES
from pytest_pan.probes.shift.records import ShiftFindings
from pytest_pan.probes.shift.rolls import RandomRoll
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def audited(model: nn.Module, images: Tensor, **settings: object) -> Audit:
    return audit(model, images, probes=("shift",), **settings)  # type: ignore[arg-type]


def findings(found: Audit) -> ShiftFindings:
    result = found.findings["shift"]
    assert isinstance(result, ShiftFindings)
    return result


def test_with_circular_padding_a_roll_by_the_total_stride_changes_no_class() -> None:
    found = audited(network("circular"), noise())
    assert findings(found).stride == 4
    assert found.measures["roll_consistency"].value == 1


def test_with_zero_padding_the_share_is_that_of_rolls_by_hand() -> None:
    model, images = network(), noise()
    rolled = torch.roll(torch.roll(images, 4, 2), 4, 3)
    expected = float((tops(model, images) == tops(model, rolled)).double().mean())
    found = audited(model, images, batch_size=7)
    assert found.measures["roll_consistency"].value == pytest.approx(expected)
    assert 0 < expected < 1


def test_random_rolls_run_with_every_padding_circular_whatever_the_batch_size() -> None:
    images, by = noise(), RandomRoll(4, 3)
    twin = network("circular")
    rolled = [torch.roll(image, by.offsets(i), (1, 2)) for i, image in enumerate(images)]
    expected = float((tops(twin, images) == tops(twin, torch.stack(rolled))).double().mean())
    for size in (7, 40):
        circular = findings(audited(network(), images, batch_size=size, seed=3)).of("circular roll")
        assert circular is not None
        assert circular.share == pytest.approx(expected)
    assert 0 < expected < 1


def test_without_strides_random_rolls_with_circular_padding_change_nothing() -> None:
    class OneThenFour(nn.Module):
        """The total stride is 4 by a pool on a branch that decides nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.side = network(stride=1), nn.Conv2d(1, 1, 3, 4, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            self.side(images)
            logits: Tensor = self.body(images)
            return logits

    circular = findings(audited(OneThenFour().double(), noise())).of("circular roll")
    assert circular is not None
    assert circular.share == 1


def test_crops_of_few_photographs_have_wider_intervals_or_none() -> None:
    model, images = network(), noise(16).repeat_interleave(4, 0)
    images += 1e-9 * noise(64)  # no image repeats another one
    widths = []
    for groups in (None, [i // 4 for i in range(64)]):
        found = audited(model, images, groups=groups).measures["roll_consistency"]
        assert found.interval is not None
        low, high = found.interval
        assert low < found.value < high
        widths.append(high - low)
    few = audited(model, images, groups=[i // 8 for i in range(64)])
    assert few.measures["roll_consistency"].interval is None
    assert widths[0] < widths[1]


def test_outputs_without_classes_give_a_note_and_no_measure() -> None:
    found = audited(nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1)), noise().float())
    assert NO_CLASSES in found.notes
    assert "roll_consistency" not in found.measures


def test_outputs_that_cannot_be_read_leave_the_audit_and_say_why() -> None:
    def pick(output: object) -> object:
        raise RuntimeError("no such key")

    found = audited(network(), noise(), outputs=pick)
    assert "shift: the outputs cannot be read: no such key" in found.notes
    assert "roll_consistency" not in found.measures


def test_findings_survive_json() -> None:
    found = audited(network(), noise())
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["shift"] == found.findings["shift"]


def test_where_layers_are_uneven_images_are_also_tried_at_the_nearest_even_size() -> None:
    """A stride of 2 leaves out the last padded row of 16 rows, and none of 17."""
    model, images = network(), noise()
    labels = tops(model, images)
    labels[:10] = (labels[:10] + 1) % 8
    resized = nn.functional.interpolate(images, (17, 17), mode="bilinear", antialias=True)
    again = tops(model, resized)
    found = audit(model, TensorDataset(images, labels), probes=("shift",))
    one = findings(found).of("resize")
    assert one is not None
    assert one.share == pytest.approx(float((tops(model, images) == again).double().mean()))
    assert findings(found).even_size == (17, 17)
    after = float((again == labels).double().mean())
    assert findings(found).accuracy == pytest.approx((0.75, after))
    (advised,) = (each for each in advice.ranked(found) if "17x17" in each.what)
    assert "foveation asymmetry" in advised.effect
    assert "the accuracy goes from 75.0 % to" in advised.effect


def test_an_even_network_is_not_resized() -> None:
    found = findings(audited(network(), noise(side=17)))
    assert found.of("resize") is None
    assert found.even_size is None


def test_the_total_stride_of_inner_layers_is_not_hidden_by_a_fine_last_map() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, 4, padding=1),
        nn.Conv2d(4, 4, 3, 2, padding=1),
        nn.Upsample(scale_factor=8),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()
    assert findings(audited(net, noise(side=32))).stride == 8
