"""A model whose forward pass changes all it can, and a record of all that could have changed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

IMAGES = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Mischief(nn.Module):
    """A network with every kind of state, whose forward pass also does ``deed`` to itself."""

    def __init__(self, deed: Callable[[Any, Tensor], Any], fails: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("nan", torch.tensor([float("nan"), 1.0]))
        self.register_buffer("none", None)
        self.register_buffer("flag", torch.tensor([True, False]))
        self.register_buffer("phase", torch.tensor([1 + 2j]).conj())
        self.register_buffer("small", torch.ones(3).to(torch.float8_e4m3fn))
        self.plain = torch.zeros(3)
        self.cache: Any = None
        self.table: dict[str, Any] = {"first": torch.zeros(2)}
        self.history: list[Any] = [torch.zeros(2)]
        self.recent: deque[Any] = deque([1, 2], maxlen=2)
        self.seen = {1}
        self.nested: dict[str, Any] = {"rows": [[0], (torch.zeros(2), {1})]}
        self.array = np.zeros(2)
        self.raw = bytearray(b"ab")
        self.generators = (
            torch.Generator().manual_seed(1),
            np.random.RandomState(1),
            np.random.default_rng(1),
            random.Random(1),
        )
        self.deed, self.fails = deed, fails

    def forward(self, x: Tensor) -> Tensor:
        self.deed(self, x)
        y = self.drop(self.norm(self.conv(x)))
        if self.fails:
            raise RuntimeError("half-way")
        return y


DEEDS: dict[str, Callable[[Any, Tensor], Any]] = {
    "counts in a buffer": lambda m, x: m.count.add_(1),
    "replaces a buffer": lambda m, x: setattr(m, "count", m.count + 1),
    "fills an empty buffer": lambda m, x: setattr(m, "none", x),
    "writes over NaN": lambda m, x: m.nan.zero_(),
    "writes NaN": lambda m, x: m.norm.running_mean.fill_(float("nan")),
    "writes booleans, complex and eight-bit floats": lambda m, x: [
        b.zero_() for b in (m.flag, m.phase, m.small)
    ],
    "scales a weight in place": lambda m, x: m.conv.weight.data.mul_(2),
    "replaces the values of a weight": lambda m, x: setattr(m.conv.weight, "data", x),
    "replaces a weight": lambda m, x: setattr(m.conv, "bias", nn.Parameter(torch.ones(2))),
    "deletes a weight": lambda m, x: setattr(m.conv, "bias", None),
    "freezes a weight": lambda m, x: m.conv.weight.requires_grad_(False),
    "sets a gradient": lambda m, x: setattr(m.conv.weight, "grad", torch.ones(2, 1, 3, 3)),
    "clears a gradient": lambda m, x: setattr(m.conv.bias, "grad", None),
    "changes a tensor that is no buffer": lambda m, x: m.plain.add_(1),
    "caches on itself": lambda m, x: setattr(m, "cache", x),
    "sets a new attribute": lambda m, x: setattr(m, "fresh", x),
    "deletes an attribute": lambda m, x: delattr(m, "cache"),
    "caches in a dict": lambda m, x: m.table.update(second=x),
    "empties a dict": lambda m, x: m.table.clear(),
    "changes a tensor in a dict": lambda m, x: m.table["first"].add_(1),
    "appends to a list": lambda m, x: m.history.append(x),
    "changes a tensor in a list": lambda m, x: m.history[0].add_(1),
    "turns a queue": lambda m, x: m.recent.append(3),
    "adds to a set": lambda m, x: m.seen.add(2),
    "counts in a nested list": lambda m, x: m.nested["rows"][0].append(1),
    "changes a nested tensor": lambda m, x: m.nested["rows"][1][0].add_(1),
    "adds to a set in a tuple": lambda m, x: m.nested["rows"][1][1].add(2),
    "changes an array": lambda m, x: m.array.__iadd__(1),
    "changes bytes": lambda m, x: m.raw.__setitem__(0, 0),
    "draws from generators of its own": lambda m, x: (
        torch.rand(1, generator=m.generators[0]),
        m.generators[1].rand(),
        m.generators[2].random(),
        m.generators[3].random(),
    ),
    "adds a module": lambda m, x: m.add_module("more", nn.Linear(1, 1)),
    "replaces a module": lambda m, x: setattr(m, "drop", nn.Identity()),
    "goes back to training": lambda m, x: m.train(),
    "sets a flag": lambda m, x: setattr(m.norm, "track_running_stats", False),
    "changes a padding mode": lambda m, x: setattr(m.conv, "padding_mode", "reflect"),
    "leaves hooks": lambda m, x: (
        m.conv.register_forward_hook(lambda *a: None),
        m.register_forward_pre_hook(lambda *a: None),
    ),
    "removes a hook": lambda m, x: m.norm._forward_hooks.clear(),
    "draws": lambda m, x: (torch.rand(1), np.random.rand(), random.random()),
    "seeds": lambda m, x: (torch.manual_seed(5), np.random.seed(5), random.seed(5)),
}


def frozen(value: Any) -> Any:
    """A value that compares equal later only if nothing in it has changed, bit for bit."""
    if isinstance(value, Tensor):
        bits = value.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
        return id(value), value.dtype, tuple(value.shape), value.requires_grad, bits.tolist()
    if isinstance(value, np.ndarray | bytearray):
        return id(value), bytes(value)
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().tolist()
    if isinstance(value, random.Random):
        return id(value), value.getstate()
    if isinstance(value, np.random.RandomState):
        return id(value), str(value.get_state())
    if isinstance(value, np.random.Generator):
        return id(value), str(value.bit_generator.state)
    if isinstance(value, dict):
        return id(value), [(key, frozen(item)) for key, item in value.items()]
    if isinstance(value, list | deque | set | tuple):
        return id(value), [frozen(item) for item in value]
    return id(value), str(value)


def everything(model: nn.Module) -> dict[str, Any]:
    """All state of all modules, the generators and torch's own hooks, read by hand."""
    registry = nn.modules.module
    return {
        "modules": [
            (name, {key: frozen(value) for key, value in sorted(vars(module).items())})
            for name, module in model.named_modules()
        ],
        "gradients": [(name, frozen(p.grad)) for name, p in model.named_parameters()],
        "random": (
            random.getstate(),
            [str(part) for part in np.random.get_state(legacy=True)],
            torch.get_rng_state().tolist(),
        ),
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.overrides._get_current_function_mode_stack(),
        ),
        "registry": {
            key: list(value)
            for key, value in vars(registry).items()
            if key.startswith("_global") and isinstance(value, dict)
        },
    }


def used(deed: Callable[[Any, Tensor], Any], fails: bool = False) -> Mischief:
    """The model as a user has it: trained a step, flags mixed, a hook of the user's own."""
    model = Mischief(lambda m, x: None, fails=False).train()
    model(IMAGES).square().sum().backward()
    model.drop.eval()
    model.norm.register_forward_hook(lambda module, args, output: None)
    model.norm.weight.requires_grad_(False)
    model.deed, model.fails = deed, fails
    return model
