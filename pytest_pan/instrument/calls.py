"""Convolution calls: their arguments, their padding and their output, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_pan.instrument.sites import (
    DEFORMABLE,
    QUANTISED,
    UNFOLDED,
    WITHOUT_PADDING,
    Pad,
    consumed,
    own_pad,
    pair,
    reliability,
)
from pytest_pan.records.sites import Site

_aten = torch.ops.aten


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
    """(N, C, H, W), (C, H, W) without a batch, or (1, N * C, H, W) if folded."""
    fold: int = 1
    """Number of images whose channels lie side by side in a batch of one; 1 if none are folded."""

    @property
    def maps(self) -> Tensor:
        """The output as one map per image and channel: a view (N, C, H, W)."""
        output = self.output if self.output.dim() == 4 else self.output[None]
        return output if self.fold == 1 else output.unflatten(1, (self.fold, -1))[0]

    @property
    def channels(self) -> int:
        """Number of output channels per image."""
        return self.weight.shape[0] // self.fold

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def map(self) -> tuple[int, int]:
        """Height and width of the output."""
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
        """Return the record of this call."""
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        pad = self.pad
        sources = {"pad": self.before.visible, "conv": self.own.visible}
        return Site(
            name=self.name,
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups // self.fold,
            channels=self.channels,
            input=self.size,
            map=self.map,
            padding=pad.quad,
            consumed=consumed(pad.amounts, self.size, spans, self.stride),
            mode=pad.mode,
            padded_by="+".join(source for source, there in sources.items() if there),
            reliability=reliability(self.map),
        )


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of a two-dimensional convolution."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    own: Pad
    dilation: tuple[int, int]
    groups: int

    def fold(self, images: int) -> int:
        """Return how many images are folded into the channels of a batch of one: 1 for none.

        0 if the channels hold several images that are not convolved apart.
        """
        if images <= 1 or self.input.dim() != 4 or len(self.input) != 1:
            return 1
        if isinstance(self.weight, nn.Parameter) or self.input.shape[1] % images:
            return 1
        return 0 if self.groups % images or len(self.weight) % images else images


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Arguments:
    dilation = pair(dilation)
    own = own_pad(padding, weight.shape[2:], dilation)
    return Arguments(input, weight, bias, pair(stride), own, dilation, int(groups))


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,  # noqa: ARG001 - of transposed convolutions only
    groups: int,
) -> Arguments | None:
    if transposed or weight.dim() != 4:
        return None
    return _conv2d(input, weight, bias, stride, padding, dilation, groups)


_CONVOLUTIONS: dict[Any, Callable[..., Arguments | None]] = {
    **dict.fromkeys((torch.conv2d, _aten.conv2d, _aten.conv2d.default), _conv2d),
    _aten.conv2d.padding: _conv2d,
    **dict.fromkeys(
        (torch.convolution, _aten.convolution, _aten.convolution.default), _convolution
    ),
}


def conv2d_arguments(func: Any, args: Any, kwargs: Any) -> Arguments | None:
    """Return the arguments if the function is a two-dimensional convolution, else None."""
    read = _CONVOLUTIONS.get(func)
    return None if read is None else read(*args, **kwargs)


def other_convolution(func: Any, args: Any, kwargs: Any) -> str:
    """Return why this function is a convolution that is not examined; empty if it is none."""
    name = str(getattr(func, "__name__", ""))
    if "conv" not in name or "convert" in name:
        return ""
    if "quantized" in str(func):
        return QUANTISED if _packed_padding(args) else QUANTISED + WITHOUT_PADDING
    if name == "deform_conv2d" and len(args) > 8:  # torchvision's operator: pad_h, pad_w
        return DEFORMABLE if any(args[7:9]) else DEFORMABLE + WITHOUT_PADDING
    if "transpose" in name or (func in _CONVOLUTIONS and _is_transposed(*args, **kwargs)):
        return "transposed convolution: its padding crops the output"
    return f"{name}: only two-dimensional convolutions by conv2d are examined"


def _is_transposed(*args: Any, transposed: bool = False, **_: Any) -> bool:
    return bool(args[6]) if len(args) > 6 else transposed


def _packed_padding(args: Any) -> bool:
    """Return whether a quantised convolution pads; True if its packed arguments do not say so."""
    for argument in args:
        padding = getattr(argument, "padding", None)
        if callable(padding):
            return any(padding())
    return True


_UNFOLDS = {
    torch.nn.functional.unfold,
    torch._C._nn.im2col,
    _aten.im2col,
    _aten.im2col.default,
}


def unfold_with_padding(func: Any, args: Any, kwargs: Any) -> str:
    """Return the reason to list a call of ``F.unfold`` that pads; empty for any other call."""
    if func not in _UNFOLDS:
        return ""
    padding = kwargs.get("padding", args[3] if len(args) > 3 else 0)
    return UNFOLDED if any(pair(padding)) else ""
