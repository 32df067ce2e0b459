"""The one seam into PyTorch: sees every conv2d and pad call, with the calling module's name.

A ``TorchFunctionMode`` sees modules, functional calls, parametrised and wrapped convolutions alike
and leaves nothing behind in the model. Names come from global forward hooks, which exist only
while the tap is open and live in PyTorch, not in the user's modules.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_pan.instrument.sites import (
    NO_PAD,
    Pad,
    consumed,
    explicit_pad,
    own_pad,
    pair,
    reliability,
)
from pytest_pan.records.sites import Site

QUANTISED = "quantised convolution: it pads inside its kernel"
ROOT = "(model)"
"""Name of what the model itself calls, outside any of its submodules."""

_aten = torch.ops.aten
_nn: Any = torch._C._nn
_CONVS = {torch.conv2d, _aten.conv2d, _aten.conv2d.default, _aten.conv2d.padding}
_SAME_VALUES = {
    *(Tensor.to, Tensor.type, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.double),
    *(Tensor.contiguous, Tensor.clone, torch.clone, Tensor.detach, torch.detach),
}
"""What a padded tensor may go through and still be the same picture."""


def _any_mode(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    return input, pad, mode, value


def _constant(input: Tensor, pad: Any, value: Any = 0) -> Any:
    return input, pad, "constant", value


def _reflect(input: Tensor, padding: Any) -> Any:
    return input, padding, "reflect", None


def _replicate(input: Tensor, padding: Any) -> Any:
    return input, padding, "replicate", None


_PADS: dict[Any, Callable[..., Any]] = {
    F.pad: _any_mode,
    _nn.pad: _any_mode,
    _aten.pad: _any_mode,
    _aten.pad.default: _any_mode,
    torch.constant_pad_nd: _constant,
    _aten.constant_pad_nd.default: _constant,
    _nn.reflection_pad2d: _reflect,
    _aten.reflection_pad2d.default: _reflect,
    _nn.replication_pad2d: _replicate,
    _aten.replication_pad2d.default: _replicate,
}


def _other_convolution(func: Any) -> str:
    """Why this function is a convolution that is not examined; empty if it is none at all."""
    name = str(getattr(func, "__name__", ""))
    if "conv" not in name or "convert" in name:
        return ""
    if "quantized" in str(func):
        return QUANTISED
    if "transpose" in name:
        return "transposed convolution: its padding crops the output"
    return f"{name}: only two-dimensional convolutions by conv2d are examined"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvCall:
    """One conv2d call: its arguments, the padding in front of it, its raw output."""

    name: str
    input: Tensor
    """As the convolution got it: a pad before the convolution is in it."""
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    before: Pad
    own: Pad
    output: Tensor
    """(N, C, H, W), or (C, H, W) where the model works without a batch."""

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def map(self) -> tuple[int, int]:
        return self.output.shape[-2], self.output.shape[-1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input before any padding."""
        top, bottom, left, right = self.before.amounts
        height, width = self.input.shape[-2:]
        return height - top - bottom, width - left - right

    @property
    def pad(self) -> Pad:
        """The pad before the convolution and its own as one."""
        return self.before.then(self.own)

    def site(self) -> Site:
        """The record of this call."""
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        pad = self.pad
        sources = {"pad": self.before.visible, "conv": self.own.visible}
        return Site(
            name=self.name,
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            channels=self.weight.shape[0],
            input=self.size,
            map=self.map,
            padding=pad.amounts,
            consumed=consumed(pad.amounts, self.size, spans, self.stride),
            mode=pad.mode,
            padded_by="+".join(source for source, there in sources.items() if there),
            reliability=reliability(self.map),
        )


class Tap(TorchFunctionMode):
    """Calls ``see(call)`` after each conv2d; a tensor it returns takes the output's place.

    ``passed_over(name, why)`` hears of convolutions that are of another kind. Open it with
    :func:`tapped`; call :meth:`begin` before each forward pass, which numbers the calls anew.
    """

    def __init__(
        self,
        model: nn.Module,
        see: Callable[[ConvCall], Tensor | None],
        passed_over: Callable[[str, str], None] = lambda name, why: None,
    ) -> None:
        super().__init__()
        self._see, self._passed_over = see, passed_over
        self._names = {module: name or ROOT for name, module in model.named_modules()}
        self._running: list[str] = []
        self._calls: Counter[str] = Counter()
        self._padded = WeakTensorKeyDictionary()
        self.begin()

    def begin(self) -> None:
        """Start of a forward pass, on the thread that calls it."""
        self._thread = threading.get_ident()
        self._running.clear()
        self._calls.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _CONVS:
            return self._convolved(result, *args, **kwargs)
        if func in _PADS:
            self._note_pad(result, *_PADS[func](*args, **kwargs))
        elif func in _SAME_VALUES:
            if args and args[0] in self._padded and isinstance(result, Tensor):
                self._padded[result] = self._padded[args[0]]
        elif why := _other_convolution(func):
            self._passed_over(self._call_name(), why)
        return result

    def _convolved(self, output: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        call = self._conv_call(output, *args, **kwargs)
        if is_functorch_wrapped_tensor(output):
            self._passed_over(call.name, "inside a transform of torch.func, which owns its values")
        elif output.is_complex():
            self._passed_over(call.name, "complex values have no order")
        elif (replaced := self._see(call)) is not None:
            return replaced
        return output

    def _conv_call(
        self,
        output: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> ConvCall:
        dilation = pair(dilation)
        return ConvCall(
            name=self._call_name(),
            input=input,
            weight=weight,
            bias=bias,
            stride=pair(stride),
            dilation=dilation,
            groups=int(groups),
            before=self._padded.get(input, NO_PAD),
            own=own_pad(padding, weight.shape[2:], dilation),
            output=output,
        )

    def _note_pad(
        self, output: Tensor, input: Tensor, amounts: Any, mode: str, value: float | None
    ) -> None:
        this = explicit_pad(amounts, mode, value)
        if this is not None and input.dim() in (3, 4):
            self._padded[output] = self._padded.get(input, NO_PAD).then(this)

    def _call_name(self) -> str:
        name = self._running[-1] if self._running else ROOT
        self._calls[name] += 1
        count = self._calls[name]
        return name + (f"#{count}" if count > 1 else "")

    def _enter_module(self, module: nn.Module, _args: Any) -> None:
        if module in self._names and threading.get_ident() == self._thread:
            self._running.append(self._names[module])

    def _leave_module(self, module: nn.Module, _args: Any, _output: Any) -> None:
        if self._running and module in self._names and threading.get_ident() == self._thread:
            self._running.pop()


@contextmanager
def tapped(tap: Tap) -> Iterator[Tap]:
    """The tap open, with its hooks; both gone afterwards, also when the model raised."""
    enter = register_module_forward_pre_hook(tap._enter_module)
    leave = register_module_forward_hook(tap._leave_module, always_call=True)
    try:
        with warnings.catch_warnings(), tap:
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global")
            yield tap
    finally:
        enter.remove()
        leave.remove()


def unseen_convolutions(model: nn.Module, seen: set[str]) -> list[tuple[str, str]]:
    """Convolution modules that no call came from, as (name, why); ``seen`` are call names."""
    modules = seen | {re.sub(r"#\d+$", "", name) for name in seen}
    reasons = [
        (path or ROOT, _why_unseen(module))
        for path, module in model.named_modules()
        if (path or ROOT) not in modules
    ]
    return [(name, why) for name, why in reasons if why]


def _why_unseen(module: nn.Module) -> str:
    """Empty for a module that is no convolution and hides none."""
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if isinstance(module, torch.jit.ScriptModule):
        original = str(getattr(module, "original_name", "")).lower()
        whole = not any(module.children()) and "aten::" in (graph := _graph(module))
        if "conv" in original or (whole and "conv" in graph):
            return "TorchScript: its convolutions cannot be seen"
    elif "quantized" in kind and "Conv" in kind:
        return QUANTISED
    elif isinstance(module, _ConvNd):
        return "never called"
    return ""


def _graph(module: torch.jit.ScriptModule) -> str:
    """The code of a scripted module; frozen ones have no children to look at."""
    return str(module.inlined_graph) if hasattr(module, "forward") else ""
