"""Convolutions that a tap cannot see, found by their modules."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pytest_pan.instrument.sites import (
    QUANTISED,
    SCRIPTED,
    WITHOUT_PADDING,
    module_of,
    pair,
    site_name,
)

ROOT = "(model)"
"""Name of what the model itself calls, outside any of its submodules."""

_Script = torch.jit.ScriptModule
_CONVOLUTIONS = ("aten::conv2d", "aten::_convolution", "aten::convolution")
_PADS = ("aten::pad", "aten::constant_pad_nd", "aten::reflection_pad2d", "aten::replication_pad2d")


def unseen_convolutions(model: nn.Module, seen: set[str]) -> list[tuple[str, str]]:
    """Return convolution modules that no call came from, as (name, why).

    ``seen`` are names of calls.
    """
    modules = seen | set(map(module_of, seen))
    reasons = [
        (site_name(path) or ROOT, _why_unseen(module))
        for path, module in model.named_modules()
        if (site_name(path) or ROOT) not in modules
    ]
    return [(name, why) for name, why in reasons if why]


def with_padding(reason: str, module: nn.Module) -> str:
    """Return the reason, which says so if the module is known to pad nothing."""
    return reason if _pads(module) else reason + WITHOUT_PADDING


def may_convolve(module: nn.Module) -> bool:
    """Return whether a module is a convolution of maps, or has a kernel of its own for one."""
    if isinstance(module, _ConvNd):
        return isinstance(module, nn.Conv2d)
    if _why_unseen(module):
        return True
    own: list[Any] = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return any(_is_kernel(tensor) for tensor in own)


def _is_kernel(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and max(tensor.shape[2:]) > 1


def _why_unseen(module: nn.Module) -> str:
    """Return why a module's convolutions are not seen; empty if it has none of its own."""
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if isinstance(module, _Script):
        original = str(getattr(module, "original_name", "")).lower()
        whole = not any(module.children()) and "aten::" in (graph := _graph(module))
        if "conv" in original or (whole and "conv" in graph):
            return with_padding(SCRIPTED, module)
    elif "quantized" in kind and "Conv" in kind:
        return with_padding(QUANTISED, module)
    elif isinstance(module, _ConvNd):
        return "never called"
    return ""


def _pads(module: nn.Module) -> bool:
    """Return whether a module may pad; False only if its attributes or its graph say otherwise."""
    padding: Any = getattr(module, "padding", None)
    kernel: Any = getattr(module, "kernel_size", None)
    if padding is None or kernel is None:
        return not isinstance(module, _Script) or _graph_pads(module)
    if max(pair(kernel)) == 1:
        return False
    return padding == "same" if isinstance(padding, str) else any(pair(padding))


def _graph_pads(module: torch.jit.ScriptModule) -> bool:
    """Return whether a scripted module's graph pads, or does not say that it does not."""
    if not hasattr(module, "forward"):
        return True
    graph: Any = module.inlined_graph
    kinds = set(re.findall(r"\w+::\w*conv(?!ert|_transpose)\w*", str(graph)))
    if not kinds.issubset(_CONVOLUTIONS):
        return True  # of MKL-DNN and others: its arguments are packed, or in another order
    if any(graph.findAllNodes(kind) for kind in _PADS):
        return True
    for kind in _CONVOLUTIONS:
        for node in graph.findAllNodes(kind):
            padding = [*node.inputs()][4].toIValue()
            if padding is None or padding == "same" or any(padding):
                return True
    return False


def _graph(module: torch.jit.ScriptModule) -> str:
    """Return the code of a scripted module; frozen ones have no children to look at."""
    return str(module.inlined_graph) if hasattr(module, "forward") else ""
