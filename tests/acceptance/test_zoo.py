"""A dozen architectures of the sweep in benchmarks/zoo.py: sites and labels by independent code."""

import pytest
from zoo_check import run

ARCHITECTURES = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "googlenet",
    "lraspp_mobilenet_v3_large",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_agree_with_independent_code(name: str) -> None:
    outcome = run(f"torchvision:{name}", 4, side=64, channels=8)

    assert outcome.is_good, outcome
    assert not outcome.refused
    assert outcome.sites >= 3
    assert outcome.labels == 24
