"""PPP of audits: networks without padding, symmetry, convolutions by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pytest_pan import audit
from pytest_pan.probes.bench import Bench
from pytest_pan.probes.ppp.passes import Collected, collect
from pytest_pan.probes.ppp.records import PppFindings
from pytest_pan.probes.ppp.report import lines
from pytest_pan.probes.table import read_audit
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.plans import Plan

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")
REFLECT = Plan(name="reflect")


def noise(count: int, side: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, side, side, generator=draw, dtype=torch.float64)


def strided(padding: int) -> nn.Sequential:
    """Three layers of total stride 4."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=padding),
        nn.Conv2d(4, 4, 3, padding=padding),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=padding),
    ).double()


def whole(model: nn.Module) -> nn.Module:
    """The model with whole weights: sums of whole numbers do not depend on their order."""
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_((weights * 20).round())
    return model


def whole_images() -> Tensor:
    return (noise(3, 56) * 16).round()


def collected(model: nn.Module, windows: Tensor, margin: int, sites: tuple[str, ...]) -> Collected:
    sums, groups = Collected(1), torch.zeros(len(windows), dtype=torch.long)
    bench = Bench(model, Settings(), torch.device("cpu"))
    with bench.open(sites) as run:
        collect(run, windows, groups, margin=margin, sites=sites, plan=REFLECT, sums=sums)
    return sums


def audited(model: nn.Module, large: object, **settings: object) -> Audit:
    return audit(model, noise(16, 24), probes=("ppp",), large_images=large, **settings)  # type: ignore[arg-type]


def findings(found: Audit) -> PppFindings:
    result = found.findings["ppp"]
    assert isinstance(result, PppFindings)
    return result


def test_without_padding_the_difference_is_exactly_nothing() -> None:
    sums = collected(whole(strided(0)), whole_images(), 8, ("0", "3", "5"))
    assert set(sums.own) == {"0", "3", "5"}
    for each in sums.own.values():
        assert not each.maps.any()
        assert not each.squares.any()
    assert all(each.total.any() for each in sums.true.values())


def test_the_middle_of_the_map_has_no_difference_and_the_border_has() -> None:
    sums = collected(whole(strided(1)), whole_images(), 8, ("0", "3", "5"))
    for name, border in (("0", 1), ("3", 2), ("5", 3)):
        maps = sums.own[name].maps[0]
        assert not maps[:, border:-border, border:-border].any()  # the central 2x2 cells too
        assert maps[:, 0].abs().min() > 0


def test_reflection_of_flat_images_gives_what_true_surroundings_do() -> None:
    flat = noise(40, 1).expand(40, 2, 280, 280).clone()
    found = audited(nn.Conv2d(2, 3, 3, padding=1, bias=False).double(), flat)
    (layer,) = findings(found).layers
    assert layer.own.mae > 0.01
    assert layer.swapped.mae == pytest.approx(0, abs=1e-12)


def test_one_layer_has_the_figures_of_convolutions_by_hand() -> None:
    model, large = nn.Conv2d(2, 3, 3, padding=1).double(), noise(40, 280)
    with torch.no_grad():
        inner = large[:, :, 128:152, 128:152]
        padded = F.conv2d(inner, model.weight, model.bias, padding=1)
        true = F.conv2d(large[:, :, 127:153, 127:153], model.weight, model.bias)
        mirrored = F.conv2d(F.pad(inner, (1,) * 4, "reflect"), model.weight, model.bias)
    sd = np.sqrt(np.mean(true.numpy().var((0, 2, 3))))
    found = audited(model, large)
    expected, swapped = (
        float((each - true).mean(0).abs().mean()) / sd for each in (padded, mirrored)
    )
    measured = found.measures["ppp_mae"]
    assert measured.value == pytest.approx(expected)
    assert measured.interval is not None
    assert measured.interval[0] < expected < measured.interval[1]
    (layer,) = findings(found).layers
    assert (layer.own.mae, layer.swapped.mae) == pytest.approx((expected, swapped))
    picture = (padded - true).mean(0).abs().mean(0) / sd
    torch.testing.assert_close(
        torch.tensor(layer.own.map, dtype=torch.float64), picture, rtol=1e-2, atol=1e-12
    )
    again = read_audit(json.loads(json.dumps(found.to_json())))
    assert again.findings["ppp"] == found.findings["ppp"]
    assert next(iter(lines(found))).startswith("ppp: padding moves the features by ")


def test_the_mean_over_layers_is_that_of_the_layers() -> None:
    found = audited(strided(1), noise(34, 56))
    for name in ("ppp_mae", "ppp_snr"):
        sites = found.measures[name].sites
        assert len(sites) == 3
        assert found.measures[name].value == pytest.approx(np.mean(list(sites.values())))
    assert findings(found).margin == 16
    assert any("the margin is 16 pixels" in note for note in found.notes)


def test_without_larger_images_a_note_says_what_to_give() -> None:
    found = audited(strided(1), None)
    assert "ppp_mae" not in found.measures
    assert any("ppp: needs" in note and "at least 280x280 and 32" in note for note in found.notes)


def test_images_that_are_too_small_are_counted_with_the_size_that_is_needed() -> None:
    sizes = [280] * 31 + [31] * 4
    found = audited(strided(1), [noise(1, side, seed)[0] for seed, side in enumerate(sizes)])
    assert "ppp_mae" not in found.measures
    (note,) = [note for note in found.notes if note.startswith("ppp")]
    assert "4 of 35 larger images are smaller than 32x32; at least 32" in note
    assert "280x280" in note


def test_no_more_than_sixty_four_images_are_used_which_is_said() -> None:
    found = audited(strided(1), noise(70, 32))
    assert findings(found).images == 64
    assert "ppp: the first 64 of 70 larger images were used" in found.notes


def test_a_map_that_does_not_grow_with_the_image_is_left_out_with_the_reason() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.pool = nn.Conv2d(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d(8)
            self.second = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.second(self.pool(self.first(images)))
            return maps

    found = audited(Pooled().double(), noise(33, 56))
    assert [layer.site for layer in findings(found).layers] == ["first"]
    assert any(skip.what == "ppp, second" and "8 cells" in skip.why for skip in found.skips)


def test_images_with_other_channels_leave_the_audit_and_say_so() -> None:
    found = audited(strided(1), torch.rand(33, 3, 56, 56))
    (skip,) = [skip for skip in found.skips if skip.what == "ppp"]
    assert "got 3 channels; allowed: 2" in skip.why
