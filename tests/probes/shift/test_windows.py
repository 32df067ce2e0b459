"""Consistency of shifted windows against the same windows cut by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classifiers import network, noise, tops
from torch import Tensor, nn

from pytest_pan import audit
from pytest_pan.probes.shift.records import ShiftFindings
from pytest_pan.probes.shift.windows import PAIRS, REACH, framed, offsets
from pytest_pan.records.audit import Audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def audited(model: nn.Module, large: object, seed: int = 5, **settings: object) -> Audit:
    images = noise()
    return audit(model, images, probes=("shift",), large_images=large, seed=seed, **settings)  # type: ignore[arg-type]


def findings(found: Audit) -> ShiftFindings:
    result = found.findings["shift"]
    assert isinstance(result, ShiftFindings)
    return result


def large(count: int = 35, side: int = 16 + REACH) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(2)).double()


def test_pairs_are_those_of_windows_cut_by_hand() -> None:
    model, images = network(), large()
    same, change = [], []
    for place, image in enumerate(images):
        for pair in offsets(5, place):
            one, other, near = (image[None, :, y : y + 16, x : x + 16] for y, x in pair)
            top = tops(model, one)
            same.append(bool(top == tops(model, other)))
            with torch.no_grad():
                before, after = (model(each).softmax(1)[0, top] for each in (one, near))
            change.append(float((before - after).abs()))
    found = audited(model, images)
    measured = found.measures["shift_consistency"]
    assert measured.value == pytest.approx(np.mean(same))
    assert measured.interval is not None
    shift = findings(found)
    assert shift.pixel_change == pytest.approx(np.mean(change))
    kind = shift.of("shift")
    assert kind is not None
    assert (kind.pairs, kind.images) == (35 * PAIRS, 35)


def test_offsets_are_uniform_and_the_near_window_is_one_pixel_away() -> None:
    drawn = [offsets(0, place) for place in range(2000)]
    first = np.array([pair[0] for each in drawn for pair in each])
    assert first.min() == 0
    assert first.max() == REACH
    assert first.mean(0) == pytest.approx([REACH / 2, REACH / 2], abs=0.5)
    near = np.array([pair[2] for each in drawn for pair in each])
    assert (np.abs(first - near).sum(1) == 1).all()
    assert near.max() <= REACH


def test_a_network_that_looks_at_the_mean_colour_alone_never_changes_on_flat_images() -> None:
    flat = torch.linspace(0, 1, 40)[:, None, None, None].expand(40, 1, 48, 48).double()
    found = audited(network(), flat.clone())
    assert found.measures["shift_consistency"].value == 1
    assert findings(found).pixel_change == 0


def test_images_are_resized_until_their_short_side_fits() -> None:
    ramp = torch.arange(96.0).expand(1, 60, 96)
    frame = framed(ramp, (48, 48))
    assert frame.shape == (1, 48, 48)
    steps = frame[0, 0].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 60 / 48), rtol=0.1, atol=0)
    torch.testing.assert_close(frame.mean(), torch.tensor(95 / 2), rtol=0, atol=1)


def test_without_larger_images_a_note_says_what_to_give_and_rolls_are_measured() -> None:
    found = audited(network(), None)
    assert "shift_consistency" not in found.measures
    assert "roll_consistency" in found.measures
    assert any("at least 48x48 and 32 of them" in note for note in found.notes)


def test_images_that_are_too_small_are_counted_and_left_out() -> None:
    sides = [48] * 30 + [47] * 3
    found = audited(network(), [(large(1, side)[0], 0) for side in sides])
    kind = findings(found).of("shift")
    assert kind is not None
    assert (kind.images, kind.interval) == (30, None)
    assert any("3 of 33 larger images are smaller than 48x48" in note for note in found.notes)


class Grouped(list[Tensor]):
    """Images four of which come from one photograph."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(images)
        self.groups = [place // 4 for place in range(len(images))]


def test_groups_of_larger_images_are_their_units() -> None:
    alike = large(16).repeat_interleave(4, 0)
    assert audited(network(), Grouped(alike[:40])).measures["shift_consistency"].interval is None
    assert audited(network(), Grouped(alike)).measures["shift_consistency"].interval is not None
