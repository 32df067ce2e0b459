"""What a model computes decides its identity: weights, values and code, wherever they stand."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.io import read_image as opened

from pytest_pan.cache.identity import identity
from pytest_pan.cache.reach import OpaqueError

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
BASES = """
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Padded(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="constant"), weight, bias)

    class Soft(nn.Softplus):
        @property
        def beta(self):
            return 2.0

        @beta.setter
        def beta(self, value): ...

    class Framed(nn.modules.padding._ConstantPadNd):
        padding = (0, 0, 1, 1)

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(Padded(1, 2, 3), Soft(), Framed(0.5))
            nn.init.ones_(self[0].weight), nn.init.zeros_(self[0].bias)

        def __iter__(self):
            return iter([*self._modules.values()][:3])

        def train(self, mode=True):
            return super().train(False)

    net = Net().eval()
"""
Loader = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Loader]:
    """Imports SOURCE with one piece of text replaced, as a user's module ``mymodel``."""

    def load(old: str = "", new: str = "", source: str = SOURCE) -> Any:
        assert not old or (source + HELPERS).count(old) == 1
        for name, text in (("helpers", HELPERS), ("mymodel", source)):
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


ASKED_FOR = {
    "a method that the installed base calls": ('mode="constant"', 'mode="replicate"'),
    "a property that the installed base reads": ("return 2.0", "return 1.0"),
    "an attribute that no base defines and one reads": ("(0, 0, 1, 1)", "(1, 1, 1, 1)"),
    "a special method that the installed base uses": ("[:3]", "[:2]"),
}


@pytest.mark.parametrize(("old", "new"), ASKED_FOR.values(), ids=ASKED_FOR)
def test_what_an_installed_base_asks_a_class_for_counts(load: Loader, old: str, new: str) -> None:
    before = load(source=BASES)
    known, output = identity(before), before(IMAGE)
    after = load(old, new, source=BASES)
    assert not torch.equal(after(IMAGE), output)
    assert identity(after) != known


def test_what_an_installed_base_asks_for_in_training_only_does_not(load: Loader) -> None:
    known = identity(load(source=BASES))
    assert identity(load("train(False)", "train(mode)", source=BASES)) == known


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


KEPT: Any = np
"""Stands for a package that reads files."""


def reads_a_picture(x: Any) -> Any:
    return x * opened("scale.png")


def reads_a_table(x: Any) -> Any:
    return x * torch.from_numpy(np.genfromtxt("scale.csv"))


def reads_weights(x: Any) -> Any:
    return x * KEPT.load_file("scale.safetensors")["scale"]


def runs_text(x: Any) -> Any:
    return eval("x * 2")  # noqa: S307


@pytest.mark.parametrize(
    "function",
    [
        reads_the_clock,
        reads_a_file,
        reads_an_array,
        reads_a_picture,
        reads_a_table,
        reads_weights,
        reads_the_environment,
        runs_text,
        calls_an_operator,
    ],
)
def test_code_that_reads_more_than_its_arguments_is_refused_by_name(function: Any) -> None:
    with pytest.raises(OpaqueError, match=function.__name__):
        identity(Calls(function))


def test_a_module_of_the_users_that_something_holds_is_refused_by_its_place() -> None:
    """Whoever has it may take anything from it, without naming it where that can be seen."""
    mine = ModuleType("my_ops")
    for thing in (mine, [mine], {"ops": mine}):
        with pytest.raises(OpaqueError, match=r"Calls\.thing.* holds my_ops"):
            identity(Calls(torch.relu, thing=thing))
    with pytest.raises(OpaqueError, match="holds my_ops"):
        identity(Calls(lambda x, ops=mine: ops.double(x)))
    with pytest.raises(OpaqueError, match=r"uses torch\.ops\.mine"):
        identity(Calls(torch.relu, thing=torch.ops.mine))
    assert identity(Calls(torch.relu, thing=np)) != identity(Calls(torch.relu, thing=torch))


PACKAGE = {
    "utils.py": "def scaled(x):\n    return x * 2.0\n",
    "mypackage/__init__.py": "def shift(x):\n    return x + 3.0\n",
    "mypackage/utils.py": "def scaled(x):\n    return x * 4.0\n",
    "mypackage/late.py": "",
    "mypackage/parts/__init__.py": "",
    "mypackage/parts/utils.py": "def scaled(x):\n    return x * 6.0\n",
    "mypackage/parts/net.py": """
import mypackage.utils, mypackage.parts.utils, utils
from torch import nn

class Absolute(nn.Module):
    def forward(self, x):
        from utils import scaled
        return scaled(x)

class Relative(nn.Module):
    def forward(self, x):
        from ..utils import scaled
        return scaled(x)

class Dotted(nn.Module):
    def forward(self, x):
        import mypackage.utils
        return mypackage.utils.scaled(mypackage.shift(x))

class Late(nn.Module):
    def forward(self, x):
        from .. import late
        return late.scaled(x)

class Later(nn.Module):
    def forward(self, x):
        import mypackage.late
        return mypackage.late.scaled(x)
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Imports PACKAGE, a user's, with one file's text replaced."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in ("mypackage", "utils")]:
            del sys.modules[name]

    def load(file: str = "", old: str = "", new: str = "") -> Any:
        forget()
        for name, text in PACKAGE.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text.replace(old, new) if name == file else text)
        importlib.invalidate_caches()
        return importlib.import_module("mypackage.parts.net")

    yield load
    forget()


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("Absolute", "utils.py", "2.0", "2.5"),
        ("Relative", "mypackage/utils.py", "4.0", "4.5"),
        ("Dotted", "mypackage/utils.py", "4.0", "4.5"),
        ("Dotted", "mypackage/__init__.py", "3.0", "3.5"),
    ],
)
def test_what_a_function_imports_is_what_python_would_import(
    package: Callable[..., Any], name: str, file: str, old: str, new: str
) -> None:
    before = getattr(package(), name)()
    known, output = identity(before), before(IMAGE)
    after = getattr(package(file, old, new), name)()
    assert not torch.equal(after(IMAGE), output)
    assert identity(after) != known


def test_a_change_of_a_module_that_only_has_the_name_does_not_count(
    package: Callable[..., Any],
) -> None:
    known = {name: identity(getattr(package(), name)()) for name in ("Absolute", "Relative")}
    assert identity(package("mypackage/utils.py", "4.0", "4.5").Absolute()) == known["Absolute"]
    assert identity(package("utils.py", "2.0", "2.5").Relative()) == known["Relative"]


@pytest.mark.parametrize("name", ["Late", "Later"])
def test_a_module_that_is_yet_to_be_imported_is_refused(
    package: Callable[..., Any], name: str
) -> None:
    with pytest.raises(OpaqueError, match=r"imports mypackage\.late while it runs"):
        identity(getattr(package(), name)())


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
