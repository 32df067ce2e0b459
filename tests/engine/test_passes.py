"""No pass sees what another pass wrote, and nobody's images are changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pytest_pan import Audit, audit

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

IMAGES = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)).cumsum(3) / 8


class Normalising(nn.Module):
    """Normalises its input by a function that may do so in place."""

    def __init__(self, normalise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.normalise = normalise
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))  # type: ignore[no-any-return]


def by_slices(x: Tensor) -> Tensor:
    x[:, :] = (x - 0.5) / 0.5
    return x


def by_data(x: Tensor) -> Tensor:
    x.data.sub_(0.5).div_(0.5)
    return x


def by_numpy(x: Tensor) -> Tensor:
    array = x.numpy()
    array -= 0.5
    array /= 0.5
    return x


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "methods": lambda x: x.sub_(0.5).div_(0.5),
    "operators": lambda x: x.__isub__(0.5).__itruediv__(0.5),
    "slices": by_slices,
    "data": by_data,
    "numpy": by_numpy,
    "out": lambda x: torch.div(torch.sub(x, 0.5, out=x), 0.5, out=x),
}


class Held(Dataset[Tensor]):
    """Gives the very tensors that it holds."""

    def __init__(self) -> None:
        self.images = IMAGES.clone()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


SOURCES: dict[str, Callable[[Tensor], object]] = {
    "tensor": lambda x: x,
    "TensorDataset": TensorDataset,
    "list": list,
    "DataLoader": lambda x: DataLoader(TensorDataset(x), batch_size=16),
    "DataLoader of batches": lambda x: DataLoader(x.split(8), batch_size=None),
}


def examined(model: nn.Module, images: object) -> Audit:
    probes = ("influence", "intrusion")
    return audit(model, images, probes=probes, draws=1, theta=0.2, device="cpu")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_model_that_writes_into_its_input_has_the_figures_of_one_that_does_not(
    way: Callable[[Tensor], Tensor],
) -> None:
    plain, writing = (
        examined(Normalising(normalise), IMAGES.clone())
        for normalise in (lambda x: (x - 0.5) / 0.5, way)
    )
    assert plain.pan_count
    assert writing.neurons == plain.neurons
    assert writing.measures == plain.measures
    assert writing.influence == plain.influence
    assert writing.intrusion == plain.intrusion


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_users_images_stay_as_they_are(source: Callable[[Tensor], object]) -> None:
    images = IMAGES.clone()
    examined(Normalising(WAYS["methods"]), source(images))
    assert torch.equal(images, IMAGES)
    held = Held()
    examined(Normalising(WAYS["data"]), held)
    assert torch.equal(held.images, IMAGES)
