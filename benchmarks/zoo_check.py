"""An independent look at what an audit should find: ``zoo.py`` compares the two.

The padded convolutions are enumerated anew from the operations that PyTorch dispatches, a level
below the function mode that audits use, and scipy computes labels from their outputs.
"""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import reference
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary
from zoo_models import SMALL, family_of, made, random_images, shapes

from pytest_pan import Audit, AuditError, PanError, audit

aten = torch.ops.aten
_CONVOLUTIONS = {aten.convolution.default, aten.mkldnn_convolution.default}
_PADS = {
    aten.constant_pad_nd.default,
    aten.reflection_pad2d.default,
    aten.replication_pad2d.default,
}
_POINTWISE = ("relu", "silu", "hardswish", "clone", "_to_copy", "native_batch_norm", "gelu")
CHANNELS = 32
"""Channels of a site whose labels scipy computes."""
THETA = 0.3
"""Threshold of the audits: random weights seldom reach the default."""
_ORDINARY = re.compile(r"1x1 kernel|no padding|map \d+x\d+ too small")


@dataclass
class Outcome:
    """What became of one architecture."""

    name: str
    family: str = ""
    shape: tuple[int, ...] = ()
    sites: int = 0
    neurons: int = 0
    pans: int = 0
    labels: int = 0
    """Labels compared with scipy's."""
    wrong: int = 0
    missed: int = 0
    """Padded convolutions that were enumerated and not examined, and the reverse."""
    skips: dict[str, int] = field(default_factory=dict)
    refused: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.wrong or self.missed or self.error)


@dataclass
class Enumerated(TorchDispatchMode):
    """Every padded two-dimensional convolution with a kernel larger than 1x1, in order."""

    images: int
    keep: frozenset[int] = frozenset()
    found: list[tuple[int, ...]] = field(default_factory=list)
    """Kernel, stride, channels and map of each that can be examined."""
    others: Counter[str] = field(default_factory=Counter)
    """Padded convolutions that cannot be, by reason: an audit has to list them."""
    outputs: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._padded = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PADS and args[0].dim() in (3, 4) and any(a > 0 for a in args[1]):
            self._padded[result] = True
        elif func in _CONVOLUTIONS:
            names = [argument.name for argument in func._schema.arguments]
            self._convolved(result, dict(zip(names, args, strict=False)))
        elif "quantized::conv" in func.name():
            self.others["quantised"] += 1
        elif any(name in str(func) for name in _POINTWISE):
            first = result[0] if isinstance(result, tuple) else result
            if isinstance(first, Tensor) and args and args[0] in self._padded:
                self._padded[first] = True
        return result

    def _convolved(self, output: Tensor, arguments: dict[str, Any]) -> None:
        source, weight = arguments["input"], arguments["weight"]
        kernel = tuple(weight.shape[2:])
        if max(kernel) == 1:
            return
        padded = any(arguments["padding"]) or source in self._padded or _has_flat_edge(source)
        if not padded:
            return
        if arguments.get("transposed") or weight.dim() != 4:
            self.others["transposed, or not two-dimensional"] += 1
            return
        folded = len(source) == 1 and not isinstance(weight, nn.Parameter) and self.images > 1
        if folded and len(weight) % self.images == 0:  # images' channels lie side by side
            output = output.view(self.images, -1, *output.shape[2:])
        height, width = output.shape[2:]
        if min(height, width) < 3 or (height - 2) * (width - 2) < max(height, width):
            return
        if len(output) == 0 or (folded and len(output) == 1):  # boxes may be none, or any number
            self.others["another batch"] += 1
            return
        if not output.isfinite().all():
            self.others["not finite"] += 1
            return
        if self.images > 1 and (output == output[:1]).all():
            self.others["no image enters"] += 1
            return
        place = len(self.found)
        self.found.append((*kernel, *arguments["stride"], output.shape[1], height, width))
        if place in self.keep:
            self.outputs[place] = output.detach().clone()


def _has_flat_edge(source: Tensor) -> bool:
    """Whether an outer line of a map has one value a channel, over all images, and others vary."""
    if source.dim() != 4 or min(source.shape[2:]) < 3:
        return False
    first = source[:1, :, :1, :1]
    if (source == first).all():
        return False
    lines = (source[:, :, :1], source[:, :, -1:], source[..., :1], source[..., -1:])
    return any(bool((line == line[:1, :, :1, :1]).all()) for line in lines)


def run(name: str, count: int, *, side: int = SMALL, channels: int = CHANNELS) -> Outcome:
    """Audit one architecture on so many images, and compare; nothing is raised."""
    outcome, started = Outcome(name, family_of(name)), time.perf_counter()
    try:
        model = made(name)
        for shape in shapes(name, side):
            outcome.shape, outcome.refused = shape, ""
            if _is_examined(outcome, model, count, channels):
                break
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"[:300]
        traceback.print_exc()
    outcome.seconds = round(time.perf_counter() - started, 1)
    return outcome


def _is_examined(outcome: Outcome, model: nn.Module, count: int, channels: int) -> bool:
    """Audit on images of one shape; False if the model does not take them."""
    images = random_images(count, outcome.shape)
    try:
        found = audit(model, images, device="cpu", batch_size=count, theta=THETA)
    except AuditError as error:
        outcome.refused = str(error)
        if error.audit is None or "no padded convolution" not in error.what:
            return "the model raised" not in error.what
        found = error.audit
    except PanError as error:
        outcome.refused = str(error)
        return True
    _compare(found, model, images, outcome, channels)
    return True


def _compare(
    found: Audit, model: nn.Module, images: Tensor, outcome: Outcome, channels: int
) -> None:
    """Enumerate the convolutions, and label the first, the middle and the last site by scipy."""
    outcome.sites, outcome.neurons = len(found.sites), found.neuron_count
    outcome.pans = found.pan_count
    outcome.skips = dict(Counter(skip.why for skip in found.skips))
    last = len(found.sites) - 1
    chosen = sorted({0, last // 2, last}) if found.sites else []
    with torch.no_grad(), Enumerated(len(images), frozenset(chosen)) as theirs:
        torch.manual_seed(0)
        model(images.clone())
    ours = [(*s.kernel, *s.stride, s.channels, *s.map) for s in found.sites]
    differ = (Counter(ours) - Counter(theirs.found)) + (Counter(theirs.found) - Counter(ours))
    outcome.missed = differ.total()
    if theirs.others and all(_ORDINARY.match(why) for why in outcome.skips):
        outcome.missed += theirs.others.total()
    if outcome.missed:
        print(f"  {outcome.name}: differing sites {dict(differ)}, others {dict(theirs.others)}")
    elif ours != theirs.found:
        outcome.error = "the sites are in another order"
    else:
        for place in chosen:
            _label(found, place, theirs.outputs[place], outcome, channels)


def _label(found: Audit, place: int, output: Tensor, outcome: Outcome, channels: int) -> None:
    site, maps = found.sites[place], output.numpy()
    mine = {n.channel: str(n.type) for n in found.neurons if n.site == site.name}
    for channel in range(min(site.channels, channels)):
        kind, _ = reference.examine(maps, channel, theta=THETA)
        outcome.labels += 1
        outcome.wrong += kind != mine.get(channel, "")
