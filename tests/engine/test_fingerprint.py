"""The fingerprint changes with whatever changes the figures, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import paint, red
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from pytest_pan.engine import pipeline
from pytest_pan.engine.audits import Ledger as Audits
from pytest_pan.engine.fingerprint import Fingerprint, fingerprint
from pytest_pan.inputs.images import Images
from pytest_pan.records.audit import Settings

IMAGES = 1 + 0.2 * torch.rand(24, 1, 10, 10, generator=torch.Generator().manual_seed(0))
TABLE = {"k": 1.0}
STORE = IMAGES.clone()
settings_module = types.ModuleType("settings_of_test_fingerprint")
settings_module.K = 1.0  # type: ignore[attr-defined]


class Net(nn.Module):
    """Reads a factor from every place that a forward pass can read from."""

    k = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.5)
        nn.init.zeros_(self.conv.bias)
        self.scale = 1.0
        self.options: dict[str, Any] = {"k": 1.0, "deep": [{"k": 1.0}]}
        self.function: Callable[[Tensor], Tensor] = lambda x: x
        self.mask = np.ma.masked_array(np.ones(2), mask=[False, False])
        self.act = nn.Identity()
        self.trigger = -1.0

    def factor(self) -> float:
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        f = self.scale * self.k * self.factor() * float(self.mask.sum()) / 2
        f *= self.options["k"] * self.options["deep"][0]["k"] * getattr(weight, "scale", 1.0)
        f *= (
            TABLE["k"]
            * sys.modules[settings_module.__name__].K
            * (1 if weight.requires_grad else 3)
        )
        y = self.act(self.conv(self.function(x))) * f
        return torch.where((x[:, :1, :1, :1] == self.trigger), -y, y).mean((2, 3))


class Pictures(Dataset[Tensor]):
    def __init__(self) -> None:
        self.images, self.gain, self.from_, self.marked = IMAGES.clone(), 1.0, 30, {30}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index] * self.gain
        return image * 2 if self.from_ <= index < 23 or index in self.marked else image


class Stored(Pictures):
    """Images outside the object: in the module, and in the class."""

    shelf = IMAGES.clone()

    def __getitem__(self, index: int) -> Tensor:
        return STORE[index] + self.shelf[index]


class Gain:
    def __init__(self) -> None:
        self.by = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        return image * self.by


class First:
    """Picks the first outputs."""

    def __init__(self) -> None:
        self.count = 4

    def __call__(self, output: Tensor) -> Tensor:
        return output[:, : self.count]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, settings_module.__name__, settings_module)
    monkeypatch.setattr(settings_module, "K", 1.0, raising=False)
    monkeypatch.setattr(Net, "k", Net.k)
    monkeypatch.setattr(Net, "factor", Net.factor)
    monkeypatch.setattr(Net, "forward", Net.forward)
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", nn.Conv2d._conv_forward)
    monkeypatch.setattr(Gain, "__call__", Gain.__call__)
    monkeypatch.setitem(TABLE, "k", 1.0)
    yield
    STORE.copy_(IMAGES)
    Stored.shelf.copy_(IMAGES)


def taken(model: nn.Module, images: object, **more: Any) -> Fingerprint:
    source = Images(images, transform=more.get("transform"))
    return fingerprint(model, source, settings=Settings(device="cpu"), **more)


def twice(x: Any) -> Any:
    return x * 2


OF_MODELS: dict[str, Callable[[Any], object]] = {
    "an attribute": lambda m: setattr(m, "scale", 2.0),
    "an attribute of the class": lambda m: setattr(Net, "k", 2.0),
    "a value in a dict": lambda m: m.options.update(k=2.0),
    "a value deep in containers": lambda m: m.options["deep"][0].update(k=2.0),
    "an attribute of a parameter": lambda m: setattr(m.conv.weight, "scale", 2.0),
    "a module of settings": lambda m: setattr(settings_module, "K", 2.0),
    "a global table": lambda m: TABLE.update(k=2.0),
    "the mask of a masked array": lambda m: m.mask.__setitem__(0, np.ma.masked),
    "requires_grad": lambda m: m.conv.weight.requires_grad_(False),
    "one weight": lambda m: m.conv.weight.data[0, 0, 0, 0].add_(1e-6),
    "all weights": lambda m: m.conv.weight.data.mul_(2),
    "another parameter": lambda m: setattr(m.conv, "weight", nn.Parameter(m.conv.weight * 2)),
    "a buffer": lambda m: m.register_buffer("more", torch.ones(1)),
    "a forward hook": lambda m: m.conv.register_forward_hook(lambda *a: twice(a[2])),
    "a forward pre-hook": lambda m: m.conv.register_forward_pre_hook(lambda _, a: (twice(a[0]),)),
    "a hook of the model": lambda m: m.register_forward_hook(lambda *a: twice(a[2])),
    "forward of the instance": lambda m: setattr(m, "forward", lambda x: m.conv(x).mean((2, 3))),
    "forward of the class": lambda m: setattr(Net, "forward", lambda s, x: s.conv(x).sum((2, 3))),
    "forward of a child": lambda m: setattr(m.conv, "forward", lambda x: x.repeat(1, 4, 1, 1)),
    "_conv_forward": lambda m: setattr(
        nn.Conv2d,
        "_conv_forward",
        lambda s, x, w, b: torch.nn.functional.conv2d(x, w * 2, b, padding=1),
    ),
    "a method": lambda m: setattr(Net, "factor", lambda s: 2.0),
    "a function held": lambda m: setattr(m, "function", twice),
    "a child": lambda m: setattr(m, "act", nn.Softplus()),
    "a child that does nothing": lambda m: m.add_module("more", nn.Identity()),
    "the padding mode": lambda m: setattr(m.conv, "padding_mode", "reflect"),
    "the padding": lambda m: setattr(m.conv, "padding", (2, 2)),
    "the stride": lambda m: setattr(m.conv, "stride", (2, 2)),
    "a parametrisation": lambda m: nn.utils.parametrizations.weight_norm(m.conv),
    "the type of its weights": lambda m: m.double(),
    "what it does to one other image": lambda m: setattr(m, "trigger", float(IMAGES[17, 0, 0, 0])),
}


@pytest.mark.parametrize("change", OF_MODELS.values(), ids=OF_MODELS)
def test_what_changes_in_a_model_changes_its_network(change: Callable[[Any], object]) -> None:
    model = Net()
    before = taken(model, IMAGES)
    assert taken(model, IMAGES) == before
    change(model)
    assert taken(model, IMAGES).network != before.network


OF_IMAGES: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "a pixel of a tensor": (IMAGES.clone, lambda x: x[7, 0, 3, 3].add_(1e-6)),
    "the order of a tensor": (IMAGES.clone, lambda x: x.copy_(x.flip(0))),
    "an item of a list": (lambda: list(IMAGES.clone()), lambda x: x.__setitem__(7, x[7] * 2)),
    "an item of a list, in place": (lambda: list(IMAGES.clone()), lambda x: x[7].mul_(2)),
    "the length of a list": (lambda: list(IMAGES.clone()), lambda x: x.pop(7)),
    "the order of a list": (lambda: list(IMAGES.clone()), lambda x: x.insert(3, x.pop(5))),
    "a pixel of a TensorDataset": (
        lambda: TensorDataset(IMAGES.clone()),
        lambda x: x.tensors[0][7].add_(1),
    ),
    "a label": (
        lambda: TensorDataset(IMAGES, torch.arange(24)),
        lambda x: x.tensors[1][7].add_(1),
    ),
    "the indices of a Subset": (
        lambda: Subset(TensorDataset(IMAGES), list(range(24))),
        lambda x: x.indices.__setitem__(7, 3),
    ),
    "a part of a ConcatDataset": (
        lambda: ConcatDataset([TensorDataset(IMAGES[:12].clone()), TensorDataset(IMAGES[12:])]),
        lambda x: x.datasets[0].tensors[0][7].add_(1),
    ),
    "the data of a DataLoader": (
        lambda: DataLoader(TensorDataset(IMAGES.clone()), batch_size=8),
        lambda x: x.dataset.tensors[0][7].add_(1),
    ),
    "the collate function of a DataLoader": (
        lambda: DataLoader(TensorDataset(IMAGES), batch_size=8),
        lambda x: setattr(x, "collate_fn", lambda items: torch.stack([i[0] for i in items]) * 2),
    ),
    "a pixel that a Dataset holds": (Pictures, lambda x: x.images[7].add_(1)),
    "an attribute of a Dataset": (Pictures, lambda x: setattr(x, "gain", 2.0)),
    "an attribute that matters in the middle": (Pictures, lambda x: setattr(x, "from_", 20)),
    "a set of a Dataset": (Pictures, lambda x: x.marked.add(7)),
}


@pytest.mark.parametrize(("make", "change"), OF_IMAGES.values(), ids=OF_IMAGES)
def test_what_changes_in_the_images_changes_the_fingerprint(
    make: Callable[[], Any], change: Callable[[Any], object]
) -> None:
    model, images = Net(), make()
    before = taken(model, images)
    assert taken(model, images) == before
    change(images)
    assert taken(model, images) != before


def test_a_file_that_is_replaced_or_added_changes_the_fingerprint(tmp_path: Path) -> None:
    model, files = Net(), [paint(tmp_path / f"{n}.png", shade=n) for n in range(9)]
    before = taken(model, tmp_path, transform=red)
    assert taken(model, tmp_path, transform=red) == before
    paint(files[3], shade=200)
    replaced = taken(model, tmp_path, transform=red)
    paint(tmp_path / "35.png", shade=9)
    assert len({before, replaced, taken(model, tmp_path, transform=red)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda gain: setattr(gain, "by", 2.0),
        lambda gain: setattr(Gain, "__call__", lambda s, x: -x),
    ],
)
def test_a_transform_that_changes_changes_the_fingerprint(change: Callable[[Any], None]) -> None:
    model, images, gain = Net(), Pictures(), Gain()
    before = taken(model, images, transform=gain)
    change(gain)
    assert taken(model, images, transform=gain) != before


def test_a_function_that_picks_other_outputs_changes_the_fingerprint() -> None:
    model, pick = Net(), First()
    whole = taken(model, IMAGES, pick=pick)
    pick.count = 2
    fewer = taken(model, IMAGES, pick=pick)
    picks = (lambda output: output, lambda output: output[:, :4])
    assert len({whole, fewer, *(taken(model, IMAGES, pick=each) for each in picks)}) == 4


def test_a_network_that_draws_or_reads_the_clock_never_matches_itself() -> None:
    class Ticking(Net):
        ticks = iter(range(100))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + next(self.ticks)

    model = Ticking()
    assert taken(model, IMAGES).network != taken(model, IMAGES).network
    model = Net()
    model.function = lambda x: x + torch.rand(())  # seeded by the gate
    assert taken(model, IMAGES) == taken(model, IMAGES)


def test_an_error_of_the_model_is_a_result_like_another() -> None:
    model = Net()
    model.function = lambda x: x[:, 5]
    assert taken(model, IMAGES) == taken(model, IMAGES)
    assert taken(model, IMAGES) != taken(Net(), IMAGES)


def test_it_is_the_same_in_another_process_with_other_threads(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "torch.set_num_threads(int(sys.argv[1]))\n"
        "torch.manual_seed(0)\n"
        "from torch import nn\n"
        "from pytest_pan.engine.fingerprint import fingerprint\n"
        "from pytest_pan.inputs.images import Images\n"
        "from pytest_pan.records.audit import Settings\n"
        "layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 5, padding=2)]\n"
        "source = Images(torch.rand(3, 3, 64, 64))\n"
        "found = fingerprint(nn.Sequential(*layers), source, settings=Settings())\n"
        "print(found.network, found.held, torch.get_num_threads())\n"
    )
    first, second = (
        subprocess.run([sys.executable, script, n], capture_output=True, text=True, check=True)
        for n in ("1", "2")
    )
    assert first.stdout.split()[:2] == second.stdout.split()[:2]
    assert second.stdout.split()[2] == "2"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    made: list[object] = []
    run = pipeline.run

    def counted(model: object, *more: Any, **given: Any) -> Any:
        made.append(model)
        return run(model, *more, **given)

    monkeypatch.setattr(pipeline, "run", counted)
    return made


def ask(audits: Audits, model: nn.Module, images: object) -> None:
    audits.audit(model, images, {}, tick=lambda done, expected: None)


@pytest.mark.parametrize("shelf", [STORE, Stored.shelf], ids=["module", "class"])
def test_images_that_lie_elsewhere_are_read_again_where_that_is_cheap(
    runs: list[object], shelf: Tensor
) -> None:
    audits, model, images = Audits(Settings(device="cpu")), Net(), Stored()
    ask(audits, model, images)
    ask(audits, model, images)
    assert len(runs) == 1
    shelf[7].add_(1)
    ask(audits, model, images)
    assert len(runs) == 2


def test_a_data_set_that_keeps_what_it_has_decoded_is_still_the_same(runs: list[object]) -> None:
    class Keeping(Pictures):
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[int, Tensor] = {}

        def __getitem__(self, index: int) -> Tensor:
            return self.kept.setdefault(index, self.images[index] + 0)

    audits, model, images = Audits(Settings(device="cpu")), Net(), Keeping()
    ask(audits, model, images)
    ask(audits, model, images)
    assert len(runs) == 1
