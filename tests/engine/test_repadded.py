"""The way out: a repadded model is the user's, but for the padding."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import bright_images, fifteen_types
from torch import nn

import pytest_pan
from pytest_pan import ConfigError, InputError, Plan

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
    assert torch.equal(repadded[0].weight, model[0].weight)
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
    torch.testing.assert_close(repadded[0].weight.grad, reference[0].weight.grad)


def test_a_site_that_cannot_be_swapped_keeps_its_padding_and_is_listed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3))
    repadded, images = pytest_pan.repad(network, Plan(name="reflect")), torch.randn(1, 1, 3, 3)
    assert torch.equal(repadded(images), network(images))
    assert "needs a map larger than 3" in repadded.not_swappable["0"]


class Net(nn.Module):
    """A model with names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 4, 3, padding=1)
        self.plan = "the user's"
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        return self.head(self.c1(x).mean((2, 3))) * scale

    def extra(self) -> str:
        return "the user's own method"


def whole(mode: str = "reflect") -> Plan:
    return Plan(name=mode, mode=mode)


def test_it_is_a_model_of_the_users_class_with_the_users_names() -> None:
    repadded = pytest_pan.repad(Net(), Plan(name="PAN-reflect", channels={"c1": (0,)}))
    assert isinstance(repadded, Net)
    assert [name for name, _ in repadded.named_modules()] == ["", "c1", "head"]
    assert type(repadded).__name__ == "Net (PAN-reflect)"
    assert str(repadded).startswith("Net (PAN-reflect)(\n  (c1): Conv2d(1, 4")
    assert (repadded.extra(), repadded.plan) == ("the user's own method", "the user's")
    assert repadded.pan_plan.channels == {"c1": (0,)}
    assert pytest_pan.repad(nn.Sequential(), whole()).plan == whole()
    named = Plan(name="mine", mode="mean")
    assert type(pytest_pan.repad(Net(), named)).__name__ == "Net (mine, mean)"


def test_the_sites_of_its_audit_are_the_modules_and_its_pans_are_gone() -> None:
    network, images = nn.Sequential(fifteen_types()), bright_images(60)
    before = pytest_pan.audit(network, images, device="cpu")
    after = pytest_pan.audit(pytest_pan.repad(network, before), images, device="cpu")
    assert (before.pan_count, after.pan_count) == (15, 0)
    assert [site.name for site in after.sites] == ["0"]
    assert after.model["name"] == "Sequential (PAN-reflect)"


def test_a_repadded_part_of_a_model_is_audited_as_it_runs() -> None:
    part = pytest_pan.repad(nn.Sequential(fifteen_types()), whole())
    found = pytest_pan.audit(nn.Sequential(part, nn.ReLU()), bright_images(60), device="cpu")
    assert (found.pan_count, [site.name for site in found.sites]) == (0, ["0.0"])


def test_keyword_arguments_and_a_direct_call_of_forward_are_repadded_too() -> None:
    network, images = Net(), torch.randn(2, 1, 9, 9)
    repadded = pytest_pan.repad(network, whole())
    expected = repadded(images)
    assert not torch.allclose(expected, network(images))
    assert torch.equal(repadded.forward(images), expected)
    assert torch.equal(repadded(x=images, scale=2.0), expected * 2)


def test_copies_and_pickles_of_it_are_repadded() -> None:
    repadded, images = pytest_pan.repad(Net(), whole()), torch.randn(2, 1, 9, 9)
    expected = repadded(images)
    saved = io.BytesIO()
    torch.save(repadded, saved)
    saved.seek(0)
    twins: list[Any] = [
        copy.deepcopy(repadded),
        pickle.loads(pickle.dumps(repadded)),  # noqa: S301
        torch.load(saved, weights_only=False),
    ]
    for twin in twins:
        assert torch.equal(twin(images), expected)
        assert (type(twin).__name__, twin.pan_plan) == ("Net (reflect)", whole())
        assert twin.c1.weight is not repadded.c1.weight
    again = pytest_pan.repad(repadded, whole("mean"))
    assert torch.equal(again(images), pytest_pan.repad(twins[0], whole("mean"))(images))
    assert type(again).__name__ == "Net (reflect, mean)" or "mean" in type(again).__name__


def test_it_trains_after_a_pass_under_inference_mode(model: nn.Sequential) -> None:
    """What is kept of that pass must not be tensors that autograd refuses."""
    images = torch.randn(2, 1, 21, 23)
    repadded = pytest_pan.repad(model, whole())
    with torch.inference_mode():
        repadded(images)
    repadded(images).sum().backward()
    assert repadded[0].weight.grad.abs().sum() > 0


def test_it_runs_after_a_pass_with_fake_tensors(model: nn.Sequential) -> None:
    """torch.export's: what is kept of that pass must be real."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    images, repadded = torch.randn(2, 1, 19, 27), pytest_pan.repad(model, whole())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        repadded(mode.from_tensor(images))
    torch.testing.assert_close(repadded(images), reflecting(model)(images))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
def test_a_model_with_computed_weights_is_repadded_and_trains() -> None:
    network = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(1, 2, 3, padding=1)))
    images = torch.randn(2, 1, 9, 9)
    network(images).sum().backward()
    repadded = pytest_pan.repad(network, whole())
    assert list(repadded.state_dict()) == list(network.state_dict())
    repadded(images).sum().backward()
    assert repadded[0].weight_v.grad is not None
    assert not torch.allclose(repadded(images), network(images))


def test_kernels_of_each_image_are_repadded_in_each_image() -> None:
    class Dynamic(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c, h, w = x.shape
            kernels = x.mean((2, 3)).view(n * c, 1, 1, 1).expand(-1, 1, 3, 3).contiguous()
            folded = x.reshape(1, n * c, h, w)
            return nn.functional.conv2d(folded, kernels, padding=1, groups=n * c).view(x.shape)

    images = torch.randn(3, 2, 9, 9)
    plan = Plan(name="one", channels={"(model)": (1,)})
    together = pytest_pan.repad(Dynamic(), plan)(images)
    apart = torch.cat([pytest_pan.repad(Dynamic(), plan)(image[None]) for image in images])
    torch.testing.assert_close(together, apart)
    assert torch.equal(together[:, 0], Dynamic()(images)[:, 0])
    assert not torch.allclose(together[:, 1], Dynamic()(images)[:, 1])


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_traced_graph_is_repadded_and_what_cannot_be_compiled_says_why() -> None:
    network, images = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)), torch.randn(2, 1, 9, 9)
    repadded = pytest_pan.repad(network, whole())
    graph = torch.fx.symbolic_trace(network)
    for each in (pytest_pan.repad(graph, whole()), copy.deepcopy(pytest_pan.repad(graph, whole()))):
        assert torch.equal(each(images), repadded(images))
    with pytest.raises(InputError, match=r"torch.fx cannot trace .*Trace the model first"):
        torch.fx.symbolic_trace(repadded)
    with pytest.raises(InputError, match=r"torch.jit.script cannot compile .*Use torch.jit.trace"):
        torch.jit.script(repadded)


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning", "ignore::torch.jit.TracerWarning")
def test_it_can_be_traced_to_torchscript_and_torchscript_cannot_be_repadded() -> None:
    network, images = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)), torch.randn(2, 1, 9, 9)
    repadded = pytest_pan.repad(network, whole())
    traced = torch.jit.trace(repadded, images, check_trace=False)
    torch.testing.assert_close(traced(images + 1), repadded(images + 1))
    with pytest.raises(InputError, match="TorchScript hides its convolutions"):
        pytest_pan.repad(torch.jit.script(network), whole())


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


def test_threads_that_share_a_copy_get_the_same_outputs(model: nn.Sequential) -> None:
    ours = pytest_pan.repad(model, Plan(name="reflect"))
    images = torch.randn(2, 1, 33, 33)
    expected = ours(images)
    start = threading.Barrier(4)

    def run(_: int) -> bool:
        start.wait()
        return all(torch.equal(ours(images), expected) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


def test_wrappers_that_an_audit_takes_off_are_taken_off_here_too(model: nn.Sequential) -> None:
    wrapped = nn.DataParallel(model)
    audit = pytest_pan.audit(wrapped, torch.rand(4, 1, 16, 16) + 1)
    assert list(pytest_pan.repad(wrapped, audit).state_dict()) == list(model.state_dict())


class Final(nn.Sequential):
    def __init_subclass__(cls) -> None:
        raise TypeError("it is final")


@pytest.mark.parametrize(
    ("given", "plan", "message"),
    [
        (3, Plan(name="p"), "not a model, got int"),
        (nn.Sequential(), 3, "plan, got 3; allowed: a Plan or an Audit"),
        (Final(), Plan(name="p"), "it is final"),
    ],
)
def test_what_cannot_be_repadded_is_said(given: Any, plan: Any, message: str) -> None:
    with pytest.raises(pytest_pan.PanError, match=message):
        pytest_pan.repad(given, plan)
