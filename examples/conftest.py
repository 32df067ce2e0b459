"""What a model repo tells pytest-pan: its model, and images like those it was trained on."""

from __future__ import annotations

import networks
import pytest
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models import MobileNet_V2_Weights


@pytest.fixture(scope="session")
def pan_model() -> nn.Module:
    return networks.mobilenet_v2()


@pytest.fixture(scope="session")
def pan_classes() -> object:
    return MobileNet_V2_Weights.IMAGENET1K_V1


@pytest.fixture(scope="session")
def pan_images() -> TensorDataset:
    return networks.photographs(*networks.IMAGENET)


@pytest.fixture(scope="session")
def pan_groups() -> list[str]:
    """Crops of one photograph are no independent images: intervals resample photographs."""
    return networks.photograph_of_each_crop()
