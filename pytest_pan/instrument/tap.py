"""The one seam into PyTorch: sees every conv2d and pad call, with the calling module's name.

A ``TorchFunctionMode`` sees modules, functional calls, parametrised and wrapped convolutions alike
and leaves nothing behind in the model. Names come from global forward hooks, which exist only
while the tap is open and live in PyTorch, not in the user's modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
from pytest_pan.records import Quad, Site

ROOT = "(model)"
"""Name of what the model itself calls, outside any of its submodules."""

_PADS = {F.pad, torch._C._nn.pad, torch.constant_pad_nd}
_OTHER_CONVS = {
    torch.conv1d: "conv1d: only two-dimensional convolutions are examined",
    torch.conv3d: "conv3d: only two-dimensional convolutions are examined",
    torch.conv_transpose1d: "transposed convolution: its padding crops the output",
    torch.conv_transpose2d: "transposed convolution: its padding crops the output",
    torch.conv_transpose3d: "transposed convolution: its padding crops the output",
}


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
        """The pad before the convolution and its own as one, modes joined where they differ."""
        joined = self.before.then(self.own)
        if joined is not None:
            return joined
        amounts = [a + b for a, b in zip(self.before.amounts, self.own.amounts, strict=True)]
        mode = f"{self.before.mode}+{self.own.mode}"
        return Pad(amounts=(amounts[0], amounts[1], amounts[2], amounts[3]), mode=mode)

    def site(self) -> Site:
        """The record of this call."""
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        pad = self.pad
        sources = {"pad": self.before.visible, "conv": self.own.visible}
        amounts: Quad = pad.amounts
        return Site(
            name=self.name,
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            channels=self.weight.shape[0],
            input=self.size,
            map=self.map,
            padding=amounts,
            consumed=consumed(amounts, self.size, spans, self.stride),
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

    def begin(self) -> None:
        """Start of a forward pass."""
        self._running.clear()
        self._calls.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.conv2d:
            replaced = self._see(self._conv_call(result, *args, **kwargs))
            return result if replaced is None else replaced
        if func in _PADS:
            self._note_pad(result, *args, **kwargs)
        elif func in _OTHER_CONVS:
            self._passed_over(self._call_name(), _OTHER_CONVS[func])
        return result

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
            groups=groups,
            before=self._padded.get(input, NO_PAD),
            own=own_pad(padding, weight.shape[2:], dilation),
            output=output,
        )

    def _note_pad(
        self, output: Tensor, input: Tensor, pad: Any, mode: str = "constant", value: Any = None
    ) -> None:
        if isinstance(mode, int | float):  # torch.constant_pad_nd(input, pad, value)
            mode, value = "constant", mode
        this = explicit_pad(pad, mode, value)
        if this is not None and input.dim() in (3, 4):
            whole = self._padded.get(input, NO_PAD).then(this)
            self._padded[output] = this if whole is None else whole

    def _call_name(self) -> str:
        name = self._running[-1] if self._running else ROOT
        self._calls[name] += 1
        count = self._calls[name]
        return name + (f"#{count}" if count > 1 else "")

    def _enter_module(self, module: nn.Module, _args: Any) -> None:
        if module in self._names:
            self._running.append(self._names[module])

    def _leave_module(self, module: nn.Module, _args: Any, _output: Any) -> None:
        if module in self._names and self._running:
            self._running.pop()


@contextmanager
def tapped(tap: Tap) -> Iterator[Tap]:
    """The tap open, with its hooks; both gone afterwards, also when the model raised."""
    enter = register_module_forward_pre_hook(tap._enter_module)
    leave = register_module_forward_hook(tap._leave_module, always_call=True)
    try:
        with tap:
            yield tap
    finally:
        enter.remove()
        leave.remove()


def unseen_convolutions(model: nn.Module, seen: set[str]) -> list[tuple[str, str]]:
    """Convolution modules that no call came from, as (name, why); ``seen`` are call names."""
    modules = {name.partition("#")[0] for name in seen}
    reasons: list[tuple[str, str]] = []
    for path, module in model.named_modules():
        name = path or ROOT
        if name in modules:
            continue
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        if isinstance(module, torch.jit.ScriptModule):
            if "conv" in str(getattr(module, "original_name", "")).lower():
                reasons.append((name, "TorchScript: its convolutions cannot be seen"))
        elif "quantized" in kind and "Conv" in kind:
            reasons.append((name, "quantised convolution: it pads inside its kernel"))
        elif isinstance(module, nn.modules.conv._ConvNd):
            reasons.append((name, "never called"))
    return reasons
