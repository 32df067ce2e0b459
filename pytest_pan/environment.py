"""What the audit ran on: the facts that explain why two runs may differ."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from pytest_pan.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """``auto`` as the first GPU or else the CPU; another name as it is, if it can be used here.

    Raises :class:`ConfigError` for a device that does not exist: there is no silent fallback.
    """
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if _cuda() else _CPU
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return _CPU
    if device.type == "cuda" and _cuda():
        index = torch.cuda.current_device() if device.index is None else device.index
        if index < torch.cuda.device_count():
            return torch.device("cuda", index)
    raise ConfigError("device", got=repr(name), allowed=f"auto, {', '.join(visible_devices())}")


_CPU = torch.device("cpu")


def _cuda() -> bool:
    return torch.cuda.is_available()


def visible_devices() -> list[str]:
    """The devices an audit can run on here."""
    count = torch.cuda.device_count() if _cuda() else 0
    return ["cpu", *(f"cuda:{index}" for index in range(count))]


def describe_device(device: torch.device) -> str:
    """``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads != 1 else ''})"


def facts(device: torch.device) -> dict[str, Any]:
    """Versions, device and the numerical switches of PyTorch."""
    return {
        "pytest-pan": package_version(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
        "numpy": _version("numpy"),
        "device": describe_device(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "tf32": torch.backends.cudnn.allow_tf32 if device.type == "cuda" else None,
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }


def package_version() -> str:
    """Version of this package as installed, or ``source`` where it runs uninstalled."""
    return _version("pytest-pan") or "source"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
