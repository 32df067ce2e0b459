"""What a model computes decides its identity: weights, values and code, wherever they stand."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_pan.identity import identity
from pytest_pan.reach import OpaqueError

SOURCE = """
    import functools, enum
    from collections import defaultdict
    from dataclasses import dataclass
    import numpy as np
    import torch
    from torch import nn
    import helpers

    SCALE = 2.0
    TABLE = {"a": [1.0, 2.0]}
    WORDS = {"alpha", "beta", "gamma"}

    @dataclass
    class Config:
        gain: float = 1.0

    class Mode(enum.Enum):
        ON = 3
        OFF = 0

    def scaled(x, by=1.0):
        return x * SCALE * by + TABLE["a"][1] + ("alpha" in WORDS)

    def make(offset):
        return lambda x: x + offset

    class Base(nn.Module):
        factor = 3

        def tail(self, x):
            return x * self.factor * self.rate

        @property
        def rate(self):
            return 1.5

        @staticmethod
        def cut(x):
            return x.clamp(max=1e6)

    class Net(Base):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1)
            nn.init.ones_(self.conv.weight), nn.init.zeros_(self.conv.bias)
            self.register_buffer("hidden", torch.ones(()), persistent=False)
            self.plain = torch.tensor(1.0)
            self.array = np.array([1.0, 2.0])
            self.config = Config()
            self.act = make(0.25)
            self.power = functools.partial(torch.mul, other=2)
            self.steps = [("add", 1.0), {"mul": 2.0}]
            self.default = defaultdict(lambda: 4.0)
            self.mode = Mode.ON
            self.conv.register_forward_hook(lambda module, args, y: y * 1.25)

        @torch.no_grad()
        def forward(self, x):
            \"\"\"The pass.\"\"\"
            assert x.dim() == 4
            y = self.act(scaled(self.conv(x))) * self.hidden * self.plain * float(self.array[1])
            y = self.power(y) * self.config.gain + self.steps[1]["mul"] + self.mode.value
            y = self.cut(self.tail(helpers.shift(y))) + Mode.OFF.value
            return y + sum(i for i in range(3)) + self.default.copy()["any"] + 0.0

        def save(self, path):
            open(path, "w").write("nothing to do with the pass")

    net = Net().eval()
"""
HELPERS = """
    OFFSET = 0.5

    def shift(x):
        return x + OFFSET
"""
Loader = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Loader]:
    """Imports SOURCE with one piece of text replaced, as a user's module ``mymodel``."""

    def load(old: str = "", new: str = "") -> Any:
        assert not old or (SOURCE + HELPERS).count(old) == 1
        for name, text in (("helpers", HELPERS), ("mymodel", SOURCE)):
            file = tmp_path / f"{name}.py"
            file.write_text(textwrap.dedent(text.replace(old, new) if old else text))
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            exec(compile(file.read_text(), file, "exec"), vars(module))  # noqa: S102, no pyc
        return module.net

    yield load
    for name in ("helpers", "mymodel"):
        sys.modules.pop(name, None)


IMAGE = torch.full((1, 1, 4, 4), 0.01)

CHANGES = {
    "a weight": ("nn.init.ones_(", "nn.init.zeros_("),
    "a bias": ("nn.init.zeros_(self.conv.bias)", "nn.init.ones_(self.conv.bias)"),
    "a buffer that no state dict has": ("torch.ones(()), per", "torch.zeros(()), per"),
    "a tensor that is no buffer": ("torch.tensor(1.0)", "torch.tensor(1.5)"),
    "an array": ("np.array([1.0, 2.0])", "np.array([1.0, 2.5])"),
    "a field of a dataclass": ("gain: float = 1.0", "gain: float = 1.5"),
    "a variable that a closure holds": ("make(0.25)", "make(0.75)"),
    "a lambda": ("lambda x: x + offset", "lambda x: x - offset"),
    "an argument of a partial": ("other=2", "other=3"),
    "what a partial calls": ("torch.mul, other", "torch.add, other"),
    "a dict in a list": ('{"mul": 2.0}', '{"mul": 3.0}'),
    "what a dict has for missing keys": ("lambda: 4.0", "lambda: 5.0"),
    "a member of an enumeration": ("ON = 3", "ON = 4"),
    "a member of a global enumeration": ("OFF = 0", "OFF = 1"),
    "a hook": ("y * 1.25", "y * 1.5"),
    "the padding": ("3, padding=1)", "3, padding=1, padding_mode='reflect')"),
    "the forward pass": ("+ 0.0", "+ 1.0"),
    "a generator expression": ("for i in range(3)", "for i in range(4)"),
    "a class attribute": ("factor = 3", "factor = 4"),
    "a method of a base class": ("x * self.factor *", "x - self.factor *"),
    "a property": ("return 1.5", "return 2.5"),
    "a static method": ("clamp(max=1e6)", "clamp(max=0.1)"),
    "a function beside the class": ("return x * SCALE", "return x / SCALE"),
    "a default": ("by=1.0", "by=2.0"),
    "a global number": ("SCALE = 2.0", "SCALE = 3.0"),
    "a global in containers": ('{"a": [1.0, 2.0]}', '{"a": [1.0, 2.5]}'),
    "a global set": ('"alpha", "beta"', '"delta", "beta"'),
    "a function of another module": ("return x + OFFSET", "return x - OFFSET"),
    "a global of another module": ("OFFSET = 0.5", "OFFSET = 0.6"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_what_changes_the_outputs_changes_the_identity(load: Loader, old: str, new: str) -> None:
    before = load()
    known, output = identity(before), before(IMAGE)
    after = load(old, new)
    assert not torch.allclose(after(IMAGE), output)
    assert identity(after) != known


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("    net = Net().eval()", "    # a comment\n    unused = 3\n    net = Net().eval()"),
        ("net = Net().eval()", "net = Net().train()"),
        ("net = Net().eval()", "net = Net().requires_grad_(False)"),
        ("nothing to do with the pass", "another text"),
    ],
)
def test_what_cannot_change_them_does_not(load: Loader, old: str, new: str) -> None:
    before = load()
    known, output = identity(before), before(IMAGE)
    after = load(old, new)
    assert torch.equal(after(IMAGE), output)
    assert identity(after) == known


def test_looking_changes_nothing_and_a_pass_between_two_looks_neither(load: Loader) -> None:
    net = load()
    known = identity(net)
    net(IMAGE)
    assert identity(net) == known


DEEDS: dict[str, Callable[[nn.Module], object]] = {
    "another forward on the instance": lambda m: setattr(m, "forward", lambda x: m.conv(x)),
    "a hook": lambda m: m.register_forward_hook(lambda module, args, y: -y),
    "a hook before": lambda m: m.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    "a child in another place": lambda m: m.add_module("conv", nn.Conv2d(1, 2, 5, padding=2)),
    "a weight in place": lambda m: m.conv.weight.data.mul_(2),  # type: ignore[union-attr,operator]
    "a function put into a class": lambda m: setattr(type(m), "tail", lambda self, x: x + 7),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_what_is_done_to_a_model_afterwards_counts(load: Loader, deed: Any) -> None:
    net = load()
    known, output = identity(net), net(IMAGE)
    deed(net)
    assert not torch.equal(net(IMAGE), output)
    assert identity(net) != known


def test_a_function_put_into_an_installed_class_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.ReLU()
    known = identity(net)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: -x)
    assert identity(net) != known


def test_a_global_hook_counts() -> None:
    net = nn.Conv2d(1, 1, 3)
    known = identity(net)
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, y: -y)
    try:
        assert identity(net) != known
    finally:
        handle.remove()
    assert identity(net) == known


class Calls(nn.Module):
    """A model whose forward pass is a function, with attributes."""

    def __init__(self, function: Callable[..., Any], **attributes: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Any) -> Any:
        return self.function(x)


def reads_the_clock(x: Any) -> Any:
    import time

    return x * time.time()


def reads_a_file(x: Any) -> Any:
    return x * float(open("scale.txt").read())  # noqa: PTH123


def reads_an_array(x: Any) -> Any:
    return x * torch.from_numpy(np.load("scale.npy"))


def reads_the_environment(x: Any) -> Any:
    import os

    return x * float(os.environ["SCALE"])


def calls_an_operator(x: Any) -> Any:
    return torch.ops.mine.double(x)


def runs_text(x: Any) -> Any:
    return eval("x * 2")  # noqa: S307


@pytest.mark.parametrize(
    "function",
    [
        reads_the_clock,
        reads_a_file,
        reads_an_array,
        reads_the_environment,
        runs_text,
        calls_an_operator,
    ],
)
def test_code_that_reads_more_than_its_arguments_is_refused_by_name(function: Any) -> None:
    with pytest.raises(OpaqueError, match=function.__name__):
        identity(Calls(function))


def test_what_cannot_be_seen_through_is_refused_by_its_place() -> None:
    lock = __import__("threading").Lock()
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(nn.ReLU())
    for thing in (lock, (i for i in ()), scripted, np.array([lock]), torch.empty(1, device="meta")):
        with pytest.raises(OpaqueError, match=r"Calls\.thing"):
            identity(Calls(torch.relu, thing=[thing] if thing is lock else thing))


def test_what_a_random_generator_will_draw_counts() -> None:
    drawn = np.random.default_rng(0)
    known = identity(Calls(torch.relu, rng=drawn))
    assert identity(Calls(torch.relu, rng=np.random.default_rng(0))) == known
    drawn.random()
    assert identity(Calls(torch.relu, rng=drawn)) != known


def test_two_tensors_that_share_values_are_not_one_that_is_used_twice() -> None:
    """An in-place change of one would reach the other, or not."""
    one, two = torch.ones(2), torch.ones(2)
    assert identity(Calls(torch.relu, pair=[one, one])) != identity(
        Calls(torch.relu, pair=[one, two])
    )


def test_a_model_that_holds_itself_ends() -> None:
    net = Calls(torch.relu)
    net.us = [net]  # type: ignore[assignment]
    assert len(identity(net)) == 64
