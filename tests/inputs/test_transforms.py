"""The transform that a model tells; oracle: torchvision's steps in timm's order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as T
from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights
from torchvision.transforms import InterpolationMode

from pytest_pan.inputs.transforms import transform_of

NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
PICTURE = Image.fromarray(NOISE)
TIMM: dict[str, Any] = {
    "input_size": (3, 56, 56),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.4),
    "num_classes": 10,
}


def net(**attributes: Any) -> nn.Module:
    model = nn.Conv2d(3, 1, 3)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def expected(*resize: Any, crop: int = 56, mode: str = "bicubic") -> torch.Tensor:
    steps = T.Compose(
        [
            T.Resize(*resize, InterpolationMode(mode)),
            T.CenterCrop(crop),
            T.ToTensor(),
            T.Normalize(TIMM["mean"], TIMM["std"]),
        ]
    )
    made: torch.Tensor = steps(PICTURE)
    return made


@pytest.mark.parametrize("name", ["pretrained_cfg", "default_cfg"])
@pytest.mark.parametrize("kind", [dict, lambda **k: SimpleNamespace(**k)])
def test_timms_configuration_is_resize_crop_and_normalise(name: str, kind: Any) -> None:
    found = transform_of(net(**{name: kind(**TIMM)}))
    assert found is not None
    transform, text = found
    assert text == f"timm {name}: resize 64, crop 56, normalise"
    assert torch.equal(transform(PICTURE), expected(64))


@pytest.mark.parametrize(
    ("change", "resize", "text"),
    [
        ({"crop_pct": 1.0}, (56,), "resize 56, crop 56, normalise"),
        ({"crop_pct": None}, (64,), "resize 64, crop 56, normalise"),
        (
            {"crop_mode": "squash"},
            ((64, 64),),
            "resize 64 without keeping the ratio, crop 56, normalise",
        ),
    ],
)
def test_timms_share_and_way_of_cropping_count(change: Any, resize: Any, text: str) -> None:
    found = transform_of(net(pretrained_cfg={**TIMM, **change}))
    assert found is not None
    assert found[1].endswith(f": {text}")
    assert torch.equal(found[0](PICTURE), expected(*resize))


def test_an_input_that_is_no_square_is_covered_by_the_picture() -> None:
    found = transform_of(net(pretrained_cfg={**TIMM, "input_size": (3, 30, 20), "crop_pct": 1}))
    assert found is not None
    transform, text = found
    assert text.endswith("resize 30x20, crop 30x20, normalise")
    assert transform(PICTURE).shape == (3, 30, 20)
    tall = expected((30, 40), crop=30)  # 90 x 120, by a third
    assert torch.equal(transform(PICTURE), tall[..., 5:25])


def test_a_model_for_grey_pictures_gets_one_channel() -> None:
    grey = {**TIMM, "input_size": (1, 56, 56), "mean": (0.5,), "std": (0.2,)}
    found = transform_of(net(pretrained_cfg=grey))
    assert found is not None
    assert found[0](PICTURE).shape == (1, 56, 56)


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        "resnet50",
        {"input_size": (3, 56, 56)},
        {**TIMM, "input_size": 56},
        {**TIMM, "input_size": (12, 56, 56)},
        {**TIMM, "mean": (0.5,)},
        {**TIMM, "mean": None},
        {**TIMM, "crop_mode": "border"},
        {**TIMM, "crop_pct": "large"},
    ],
)
def test_a_configuration_that_is_none_tells_nothing(config: Any) -> None:
    assert transform_of(net(pretrained_cfg=config)) is None
    assert transform_of(net()) is None


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (MobileNet_V2_Weights.IMAGENET1K_V2, "resize 232, crop 224, normalise"),
        (ResNet50_Weights.IMAGENET1K_V1, "resize 256, crop 224, normalise"),
        (FCN_ResNet50_Weights.DEFAULT, "resize 520, normalise"),
    ],
)
def test_weights_of_torchvision_tell_their_own(weights: Any, text: str) -> None:
    found = transform_of(net(), weights)
    assert found is not None
    assert found[1] == f"torchvision {weights}: {text}"
    assert torch.equal(found[0](PICTURE), weights.transforms()(PICTURE))


@pytest.mark.parametrize("classes", [None, ["cat", "dog"], ("a",), {}])
def test_names_of_classes_are_no_weights(classes: Any) -> None:
    assert transform_of(net(), classes) is None


def test_what_the_model_tells_goes_before_the_weights() -> None:
    found = transform_of(net(default_cfg=TIMM), MobileNet_V2_Weights.IMAGENET1K_V2)
    assert found is not None
    assert found[1].startswith("timm default_cfg")
