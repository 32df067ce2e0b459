"""The network of the red-green test: four convolutions, a global max pool, a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from pytest_pan.studies.border_handling.records import Scheme

LAYERS = ((3, 32, 1), (32, 32, 2), (32, 64, 2), (64, 64, 1))
"""Input channels, output channels and stride of each 3x3 convolution."""


class Network(nn.Module):
    """Images (N, 3, H, W) -> logits (N, 2)."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for given, made, stride in LAYERS:
            self.features.append(
                nn.Conv2d(
                    given,
                    made,
                    3,
                    stride,
                    scheme.padding,
                    padding_mode=scheme.mode,
                    bias=False,
                )
            )
            self.features.append(nn.ReLU())
        self.classifier = nn.Linear(LAYERS[-1][1], 2)

    def forward(self, images: Tensor) -> Tensor:
        # unlike that of PyTorch's max pools, the gradient of max() is deterministic on a GPU
        peaks = self.features(images).flatten(2).max(dim=2).values
        logits: Tensor = self.classifier(peaks)
        return logits
