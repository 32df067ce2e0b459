"""Nascent and downstream neurons, planted; and the floor."""

from __future__ import annotations

import pytest
import torch
from nets import bright_images, conv, fifteen_types, missing
from scipy.stats import binomtest
from torch import Tensor, nn

from pytest_pan import Audit, audit
from pytest_pan.probes.influence.own_padding import OwnPadding
from pytest_pan.records.neurons import PAN_TYPES
from pytest_pan.records.plans import MODES

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def examined(model: nn.Module, images: Tensor, **settings: object) -> Audit:
    return audit(model, images, probes=("pans", "influence"), draws=1, **settings)


def one_cell(row: int, column: int, stride: int = 1) -> nn.Conv2d:
    """A padded 3x3 convolution that passes on one cell of its window."""
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, row, column] = 1
    layer = conv(kernel)
    layer.stride = (stride, stride)
    return layer


def origins(found: Audit) -> list[tuple[str, str, str, str]]:
    return [(n.site, str(n.type), str(n.nascent), str(n.downstream)) for n in found.neurons]


def test_a_planted_neuron_owes_each_of_its_sides_to_its_own_padding() -> None:
    found = examined(fifteen_types(), bright_images())
    assert [str(n.nascent) for n in found.neurons] == list(PAN_TYPES)
    assert {str(n.downstream) for n in found.neurons} == {""}
    assert found.measures["nascent_fraction"].value == 1
    assert found.measures["downstream_fraction"].value == 0


def test_a_layer_that_passes_on_its_own_pixel_has_it_from_upstream() -> None:
    found = examined(nn.Sequential(conv(missing("T")[None]), one_cell(1, 1)), bright_images())
    assert origins(found) == [("0", "T", "T", ""), ("1", "T", "", "T")]
    assert found.measures["nascent_fraction"].value == 0.5
    assert found.measures["downstream_fraction"].value == 0.5


def test_a_neuron_can_owe_one_side_to_itself_and_another_to_an_earlier_layer() -> None:
    """The second layer adds its left neighbour, padding in the first column, to its own pixel."""
    second = one_cell(1, 1)
    with torch.no_grad():
        second.weight[0, 0, 1, 0] = 1
    found = examined(nn.Sequential(conv(missing("T")[None]), second), bright_images())
    assert origins(found)[1] == ("1", "TL", "L", "T")


def test_a_side_that_consumes_no_padding_is_never_nascent() -> None:
    """Stride 2 on 16 rows: the last window ends at the last row, where the first layer is a B."""
    model = nn.Sequential(conv(missing("B")[None]), one_cell(2, 1, stride=2))
    found = examined(model, bright_images())
    assert found.sites[1].consumed == (1, 0, 1, 0)
    assert origins(found) == [("0", "B", "B", ""), ("1", "B", "", "B")]


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "circular"])
def test_the_floor_of_planted_networks_is_zero(mode: str) -> None:
    found = examined(fifteen_types(), bright_images(60), mode=mode)
    assert found.measures["pan_floor"].value == 0


def test_the_floor_is_what_a_network_with_that_padding_gives() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 5, 2, padding=2)]
    model, images = nn.Sequential(*layers).double(), bright_images(size=20).double()
    images = images * torch.linspace(0, 3, 20, dtype=torch.float64)[:, None]  # a bright ground
    found = examined(model, images, theta=0.3)
    for layer in (layers[0], layers[2]):
        layer.padding_mode = "reflect"
        layer._reversed_padding_repeated_twice = [layer.padding[0]] * 4
    reflected = audit(model, images, theta=0.3)
    assert 0 < reflected.pan_fraction < found.pan_fraction
    assert found.measures["pan_floor"].value == reflected.pan_fraction


def test_zeros_in_the_place_of_zeros_leave_everything_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The identity, which as a setting is refused for just that."""
    monkeypatch.setattr("pytest_pan.config.settings.SWAP_MODES", MODES)
    found = examined(fifteen_types(), bright_images(), mode="zeros")
    assert found.measures["pan_floor"].value == found.pan_fraction == 1
    assert {(str(n.nascent), str(n.downstream)) for n in found.neurons} == {("", "")}


def test_a_map_too_small_to_reflect_leaves_the_origin_open_and_says_so() -> None:
    kernel = torch.zeros(1, 1, 9, 9)
    kernel[0, 0, 3, 4] = -1
    found = examined(conv(kernel, padding=4), bright_images(size=4))
    assert [(t, n, d) for _, t, n, d in origins(found)] == [("T", "", "")]
    pan, *_, whole = found.influence
    for plan in (pan, whole):
        assert list(plan.not_swappable) == [found.sites[0].name]
        assert "larger than 4, got 4x4" in plan.not_swappable[found.sites[0].name]
    assert "pan_floor" not in found.measures
    assert any("1 layer keeps its padding" in note for note in found.notes)


@pytest.mark.parametrize("mode", ["reflect", "mean", "partial"])
def test_the_origin_is_the_same_where_the_original_pass_runs_again(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 7, 2, padding=3), nn.ReLU(True), nn.Conv2d(16, 8, 3, padding=1)]
    model, images = nn.Sequential(*layers).double(), bright_images(40, 20).double()
    kept = examined(model, images, theta=0.2, mode=mode)
    monkeypatch.setattr(OwnPadding, "end", lambda self, images: self.drop())
    again = examined(model, images, theta=0.2, mode=mode)
    assert any(n.nascent for n in kept.neurons)
    assert origins(kept) == origins(again)
    assert kept.measures == again.measures
    assert kept.influence == again.influence


def test_shares_of_pans_have_the_exact_interval_of_as_many_draws() -> None:
    model = nn.Sequential(conv(missing("T")[None]), one_cell(1, 1))
    measures = examined(model, bright_images(count=40)).measures
    ends = tuple(binomtest(1, 2).proportion_ci(method="exact"))
    assert measures["nascent_fraction"].interval == pytest.approx(ends)
    assert measures["downstream_fraction"].interval == pytest.approx(ends)
    assert measures["pan_floor"].interval == (0, 0)


def test_of_few_images_these_shares_have_no_interval() -> None:
    measures = examined(fifteen_types(), bright_images()).measures
    assert measures["nascent_fraction"].interval is measures["pan_floor"].interval is None
