"""The way out: a repadded model is the user's, but for the padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nets import bright_images, fifteen_types
from torch import nn

import pytest_pan
from pytest_pan import ConfigError, Plan

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")


def reflecting(model: nn.Sequential) -> nn.Sequential:
    """The same weights in convolutions that pad by reflection, PyTorch's own way."""
    layers = []
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            twin = nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                padding_mode="reflect",
            )
            twin.load_state_dict(layer.state_dict())
            layers.append(twin)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 5, stride=2, padding=2)
    )


def test_with_every_channel_swapped_it_is_the_reflect_padded_network(model: nn.Sequential) -> None:
    images = torch.randn(2, 1, 9, 9)
    ours = pytest_pan.repad(model, Plan(name="reflect"))(images)
    torch.testing.assert_close(ours, reflecting(model)(images))


def test_only_the_plans_channels_change_and_the_users_model_does_not(model: nn.Sequential) -> None:
    images = torch.randn(2, 1, 9, 9)
    plain = model(images)
    ours = pytest_pan.repad(model, Plan(name="one", channels={"2": (1,)}))(images)
    assert torch.equal(ours[:, 0], plain[:, 0])
    assert not torch.equal(ours[:, 1], plain[:, 1])
    assert torch.equal(model(images), plain)


def test_applied_swaps_inside_the_block_and_not_behind_it(model: nn.Sequential) -> None:
    images = torch.randn(2, 1, 9, 9)
    plain = model(images)
    with pytest_pan.applied(model, Plan(name="reflect")) as swapped:
        inside, again = swapped(images), swapped(images)
    assert torch.equal(again, inside)
    assert not model._forward_pre_hooks
    assert torch.equal(inside, pytest_pan.repad(model, Plan(name="reflect"))(images))
    assert torch.equal(model(images), plain)


def test_the_plan_of_an_audit_leaves_no_pan_behind() -> None:
    """Of fifteen planted PANs; an audit of the repadded model finds none."""
    network, images = fifteen_types(), bright_images()
    audit = pytest_pan.audit(network, images)
    assert pytest_pan.plan_of(audit).size == 15
    with pytest_pan.applied(network, pytest_pan.plan_of(audit)) as swapped, torch.no_grad():
        edges = swapped(images)[:, 0]
    assert not (edges[:, 0] > edges[:, 1:-1].amax((1, 2))[:, None]).all()


def test_its_state_dict_goes_both_ways(model: nn.Sequential, tmp_path: Path) -> None:
    repadded = pytest_pan.repad(model, Plan(name="reflect"))
    assert list(repadded.state_dict()) == list(model.state_dict())
    torch.save(repadded.state_dict(), tmp_path / "weights.pth")
    saved = torch.load(tmp_path / "weights.pth", weights_only=True)
    model.load_state_dict(saved)
    with torch.no_grad():
        model[0].weight.add_(1)
    repadded.load_state_dict(model.state_dict())
    assert torch.equal(repadded.model[0].weight, model[0].weight)
    inside = nn.Sequential(repadded)
    assert list(inside.state_dict()) == [f"0.{key}" for key in model.state_dict()]
    inside.load_state_dict(inside.state_dict())


def test_a_model_that_has_a_model_keeps_its_keys_and_values() -> None:
    network = nn.Module()
    network.model, network.c = nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1)
    network.model.c = nn.Linear(1, 1)
    repadded = pytest_pan.repad(network, Plan(name="reflect"))
    assert list(repadded.state_dict()) == list(network.state_dict())
    for key, value in network.state_dict().items():
        assert torch.equal(repadded.state_dict()[key], value)
    repadded.load_state_dict(network.state_dict())


def test_it_can_be_fine_tuned(model: nn.Sequential) -> None:
    """One step has the gradient of the reflect-padded network."""
    images = torch.randn(2, 1, 9, 9)
    repadded, reference = pytest_pan.repad(model, Plan(name="reflect")), reflecting(model)
    for network in (repadded, reference):
        network(images).square().mean().backward()
    torch.testing.assert_close(repadded.model[0].weight.grad, reference[0].weight.grad)


def test_a_site_that_cannot_be_swapped_keeps_its_padding_and_is_listed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3))
    repadded, images = pytest_pan.repad(network, Plan(name="reflect")), torch.randn(1, 1, 3, 3)
    assert torch.equal(repadded(images), network(images))
    assert "needs a map larger than 3" in repadded.not_swappable["0"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(name="x", channels={"9": (0,)}), "no module '9'.*Is the plan of another model"),
        (Plan(name="x", channels={"2": (0, 2)}), "2: channel of the plan, got 2; allowed: 0 to 1"),
        (Plan(name="x", mode="mirror"), "mode of the plan, got 'mirror'; allowed: reflect"),
    ],
)
def test_a_plan_of_another_model_is_refused(model: nn.Sequential, plan: Plan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pytest_pan.repad(model, plan)


def test_the_untrained_twin_has_the_shapes_but_not_the_weights(model: nn.Sequential) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    draws = torch.get_rng_state()
    twin, again = pytest_pan.untrained(model, seed=3), pytest_pan.untrained(model, seed=3)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
        assert twin.state_dict()[key].shape == value.shape
        assert not torch.equal(twin.state_dict()[key], value)
        assert torch.equal(twin.state_dict()[key], again.state_dict()[key])
    assert torch.equal(draws, torch.get_rng_state())
