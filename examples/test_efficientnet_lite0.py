"""A network that pads by a ZeroPad2d of its own before each convolution, and unevenly."""

from __future__ import annotations

import networks
import pytest
from torch import nn
from torch.utils.data import TensorDataset


@pytest.fixture(scope="module")
def pan_model() -> nn.Module:
    return networks.efficientnet_lite0()


@pytest.fixture(scope="module")
def pan_images() -> TensorDataset:
    return networks.photographs(*networks.HALVES)


@pytest.mark.pan(max_pan_fraction=0.03, max_uneven_layers=5)
def test_padding_is_not_a_feature() -> None:
    """Five layers are padded unevenly by construction; a sixth would be news."""
