"""Figures of "Padding Aware Neurons" (arXiv:2309.08048), as published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the paper gives for one network."""

    title: str
    types: tuple[int, ...]
    """PANs of each type, theta 0.5, in the order of ``PAN_TYPES`` (Table 2)."""
    neurons: int | None = None
    """Neurons examined; None where the paper does not say."""

    @property
    def count(self) -> int:
        """PANs of all types."""
        return sum(self.types)


NETWORKS = {
    "resnet50": Published(
        title="ResNet-50", types=(10, 32, 8, 10, 8, 1, 0, 0, 3, 4, 1, 0, 0, 0, 4), neurons=3840
    ),
    "mobilenet_v3_large": Published(
        title="MobileNetV3-Large", types=(47, 90, 9, 6, 9, 5, 0, 1, 3, 8, 0, 0, 1, 1, 13)
    ),
    "googlenet": Published(
        title="GoogLeNet", types=(7, 24, 4, 2, 7, 1, 0, 0, 1, 7, 0, 0, 1, 1, 3), neurons=3328
    ),
}
"""By torchvision's name."""

BEYOND = 0.07
"""Change of a class's odds from which it is listed (Table 3)."""

BELOW, ABOVE = 25, 12
"""Classes of ResNet-50 beyond it on the ImageNet validation set: odds below 1, and above."""

EXTREMES = ("drum 0.91", "cheetah 1.10")
"""The first class of each kind."""

NEGATIVE, POSITIVE = 111, 99
"""Classes of ResNet-50 whose log-odds change by more than 0.05, downwards and upwards (section
4.1, Figures 9 and 10)."""
