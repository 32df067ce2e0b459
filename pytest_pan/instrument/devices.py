"""Devices: which to run on, and the facts about them that explain why two runs may differ."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from pytest_pan.instrument import ranks
from pytest_pan.records.audit import METHOD
from pytest_pan.records.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is a GPU if there is one, else the CPU.

    With ``auto`` and ``cuda``, one process takes the current GPU, and several processes on one
    machine (torchrun's or xdist's) take the visible GPUs in turn. Raises :class:`ConfigError` for a
    device that does not exist.
    """
    if name == "auto":
        return torch.device("cuda", _place()) if _cuda() else _CPU
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return _CPU
    if device.type == "cuda" and _cuda():
        index = _place() if device.index is None else device.index
        if index < torch.cuda.device_count():
            return torch.device("cuda", index)
    raise ConfigError("device", got=repr(name), allowed=f"auto, {', '.join(visible_devices())}")


_CPU = torch.device("cpu")


def _place() -> int:
    return place(ranks.local(), torch.cuda.current_device(), torch.cuda.device_count())


def place(local: int, current: int, count: int) -> int:
    """Return which of ``count`` visible GPUs a process takes: in turn, from the current one on.

    ``local`` is the number of the process on its machine; xdist's gw0 is 0.
    """
    return (current + local) % count


def _cuda() -> bool:
    return torch.cuda.is_available()


def visible_devices() -> list[str]:
    """Return the names of the devices that an audit can run on here."""
    count = torch.cuda.device_count() if _cuda() else 0
    return ["cpu", *(f"cuda:{index}" for index in range(count))]


def describe_device(device: torch.device) -> str:
    """Return a text such as ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads != 1 else ''})"


def describe(device: torch.device) -> str:
    """Return the device with all that figures may depend on, for the header."""
    if device.type != "cuda":
        return describe_device(device)
    gpu = _gpu(device)
    return (
        f"{describe_device(device)}, {gpu['gpu_memory'] / 2**30:.1f} GiB, compute capability "
        f"{gpu['compute_capability']}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}"
    )


def check_precision(precision: str, device: torch.device) -> None:
    """Raise :class:`ConfigError` for TF32 on a device without it, which would run float32."""
    if precision != "tf32":
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise ConfigError(
            "precision",
            got="'tf32'",
            allowed="float32, bfloat16, float16",
            next=f"TF32 needs a GPU of compute capability 8.0 or more; this is "
            f"{describe_device(device)}.",
        )


def facts(device: torch.device) -> dict[str, Any]:
    """Return versions, device and numerical switches; facts of GPUs are None on the CPU."""
    cuda = device.type == "cuda"
    return {
        "pytest-pan": package_version(),
        "method": METHOD,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
        "numpy": _version("numpy"),
        "device": describe_device(device),
        **(_gpu(device) if cuda else dict.fromkeys(_GPU)),
        "tf32": torch.backends.cudnn.allow_tf32 if cuda else None,
        "cudnn_deterministic": torch.backends.cudnn.deterministic if cuda else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark if cuda else None,
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }


def arithmetic() -> dict[str, Any]:
    """Return what can change the last bits of a sum, besides versions and device."""
    return {
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


_GPU = ("gpu", "gpu_memory", "compute_capability", "cuda", "cudnn", "driver")


def _gpu(device: torch.device) -> dict[str, Any]:
    """Return name, bytes of memory and versions; the driver's is the newest CUDA it supports."""
    gpu = torch.cuda.get_device_properties(device)
    ask_driver = getattr(torch._C, "_cuda_getDriverVersion", None)
    driver = ask_driver() if ask_driver else None  # 13020 is CUDA 13.2
    return {
        "gpu": gpu.name,
        "gpu_memory": gpu.total_memory,
        "compute_capability": f"{gpu.major}.{gpu.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": f"{driver // 1000}.{driver % 1000 // 10}" if driver else None,
    }


def package_version() -> str:
    """Return the version of this package as installed, or ``source`` if it is not."""
    return _version("pytest-pan") or "source"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
