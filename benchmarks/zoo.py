"""Audits of many architectures beside an independent enumeration and scipy.

    python benchmarks/zoo.py [name ...] [--images 8] [--json zoo.json] [--markdown table.md]

Every classification, segmentation and detection architecture of torchvision, and one architecture
of each family of timm where that is installed, with random weights on small random images. The
padded convolutions are enumerated anew from the operations that PyTorch dispatches (a
``TorchDispatchMode``, below the function mode that audits use), and the labels of the first, the
middle and the last examined site are computed by scipy. A name such as ``timm:resnet18`` or
``torchvision:vgg11`` runs that alone; the exit code is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import reference
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary
from torchvision import models

from pytest_pan import Audit, PanError, audit

aten = torch.ops.aten
_CONVOLUTIONS = {aten.convolution.default, aten.mkldnn_convolution.default}
_PADS = {
    aten.constant_pad_nd.default,
    aten.reflection_pad2d.default,
    aten.replication_pad2d.default,
}
_POINTWISE = ("relu", "silu", "hardswish", "clone", "_to_copy", "native_batch_norm", "gelu")
CHANNELS = 48
"""Channels of a site whose labels scipy computes."""


@dataclass
class Enumerated(TorchDispatchMode):
    """Every padded two-dimensional convolution with a kernel larger than 1x1, in order."""

    images: int
    keep: frozenset[int] = frozenset()
    found: list[tuple[Any, ...]] = field(default_factory=list)
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
        elif any(name in str(func) for name in _POINTWISE):
            first = result[0] if isinstance(result, tuple) else result
            if isinstance(first, Tensor) and args and args[0] in self._padded:
                self._padded[first] = True
        return result

    def _convolved(self, output: Tensor, arguments: dict[str, Any]) -> None:
        source, weight = arguments["input"], arguments["weight"]
        padded = any(arguments["padding"]) or source in self._padded
        kernel = tuple(weight.shape[2:])
        if arguments.get("transposed") or weight.dim() != 4 or kernel == (1, 1) or not padded:
            return
        folded = len(source) == 1 and not isinstance(weight, nn.Parameter) and self.images > 1
        if folded:  # each image's channels lie beside the others'
            output = output.view(self.images, -1, *output.shape[2:])
        height, width = output.shape[2:]
        if min(height, width) < 3 or (height - 2) * (width - 2) < max(height, width):
            return
        place = len(self.found)
        self.found.append((*kernel, *arguments["stride"], output.shape[1], height, width))
        if place in self.keep:
            self.outputs[place] = output.detach().clone()


@dataclass
class Outcome:
    """What became of one architecture."""

    name: str
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


def architectures() -> Iterator[str]:
    """The names of all that is run."""
    for module in (models, models.segmentation, models.detection):
        for name in models.list_models(module=module):
            yield f"torchvision:{name}"
    try:
        import timm
    except ImportError:
        print("timm is not installed: its families are left out", file=sys.stderr)
        return
    families: dict[str, str] = {}
    for name in timm.list_models():
        family = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
        families.setdefault(family, name)
    yield from (f"timm:{name}" for name in families.values())


def made(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A model with random weights, and the shape of an image for it."""
    source, _, model = name.partition(":")
    torch.manual_seed(0)
    if source == "torchvision":
        shape = (3, 299, 299) if "inception" in model else (3, 224, 224)
        extra = {"weights": None}
        if model in models.list_models(module=models.segmentation):
            return models.get_model(model, weights_backbone=None, **extra), (3, 96, 96)
        if model in models.list_models(module=models.detection):
            small = {} if model.startswith("ssd") else {"min_size": 128, "max_size": 160}
            return models.get_model(model, weights_backbone=None, **extra, **small), (3, 128, 128)
        convolutional = "vit" not in model and "swin" not in model and "maxvit" not in model
        small = convolutional and "inception" not in model
        return models.get_model(model, **extra), (3, 96, 96) if small else shape
    import timm

    network = timm.create_model(model, pretrained=False)
    size = network.default_cfg.get("input_size", (3, 224, 224))
    fixed = network.default_cfg.get("fixed_input_size", False)
    return network, size if fixed or size[1] < 128 else (3, 128, 128)


def run(name: str, count: int) -> Outcome:
    """Audit one architecture and compare."""
    outcome, started = Outcome(name), time.perf_counter()
    try:
        model, shape = made(name)
        model.eval()
        images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) + 0.5
        found = audit(model, images, device="cpu", batch_size=count, theta=0.3)
        compare(found, model, images, outcome)
    except PanError as error:
        outcome.refused = str(error)[:160]
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"[:200]
        traceback.print_exc()
    outcome.seconds = time.perf_counter() - started
    return outcome


def compare(found: Audit, model: nn.Module, images: Tensor, outcome: Outcome) -> None:
    """Enumerate the convolutions, and label three sites by scipy."""
    outcome.sites, outcome.neurons = len(found.sites), found.neuron_count
    outcome.pans = found.pan_count
    outcome.skips = dict(Counter(skip.why for skip in found.skips))
    last = len(found.sites) - 1
    chosen = sorted({0, last // 2, last})
    with torch.no_grad(), Enumerated(len(images), frozenset(chosen)) as theirs:
        torch.manual_seed(0)
        model(images)
    ours = [(*s.kernel, *s.stride, s.channels, *s.map) for s in found.sites]
    differ = (Counter(ours) - Counter(theirs.found)) + (Counter(theirs.found) - Counter(ours))
    outcome.missed = differ.total()
    if outcome.missed or ours != theirs.found:
        return
    for place in chosen:
        site, maps = found.sites[place], theirs.outputs[place].numpy()
        mine = {n.channel: str(n.type) for n in found.neurons if n.site == site.name}
        for channel in range(min(site.channels, CHANNELS)):
            kind, _ = reference.examine(maps, channel, theta=0.3)
            outcome.labels += 1
            outcome.wrong += kind != mine.get(channel, "")


def markdown(outcomes: list[Outcome]) -> str:
    """The table as docs/compatibility.md has it."""
    lines = [
        "| architecture | sites | neurons | labels compared | wrong | not examined, or refused |",
        "|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        why = each.refused or each.error
        why = why or ", ".join(f"{count} {reason}" for reason, count in each.skips.items())
        why = why.replace("|", "/").replace("\n", " ")[:160]
        lines.append(
            f"| {each.name} | {each.sites} | {each.neurons:,} | {each.labels} | {each.wrong} "
            f"| {why or '-'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    outcomes = []
    for name in options.names or architectures():
        outcomes.append(run(name, options.images))
        one = outcomes[-1]
        state = "ok" if one.is_good else "DIFFERS"
        said = one.refused or one.error
        print(
            f"{state} {name}: {one.sites} sites, {one.neurons:,} neurons, {one.labels} labels, "
            f"{one.wrong} wrong, {one.missed} missed, {one.seconds:.1f} s {said}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    if options.markdown:
        options.markdown.write_text(markdown(outcomes))
    bad = [each.name for each in outcomes if not each.is_good]
    labels = sum(each.labels for each in outcomes)
    sites = sum(each.sites for each in outcomes)
    print(f"{len(outcomes)} architectures, {sites} sites, {labels} labels; differ: {bad or 'none'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
