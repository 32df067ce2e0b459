"""The numerical switches: what holds during an audit, and that all of it is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from nets import bright_images, conv, fifteen_types, missing
from torch import Tensor, nn

from pytest_pan import AuditError, ConfigError, audit
from pytest_pan.instrument.numerics import chosen

CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: this path has not run"
)
backends: Any = torch.backends
NEW = hasattr(backends.cudnn, "fp32_precision")


def ask(switch: Callable[[], Any]) -> Any:
    try:
        return switch()
    except RuntimeError:
        return "mixed"  # torch refuses the older names where the newer disagree


def switches() -> list[Any]:
    """Every switch by both names, as a user can ask for it."""
    new = (backends, backends.cudnn, backends.cuda.matmul, backends.mkldnn.matmul)
    parts = (*new, backends.cudnn.conv, backends.cudnn.rnn) if NEW else ()
    return [
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        ask(lambda: backends.cudnn.allow_tf32),
        ask(lambda: backends.cuda.matmul.allow_tf32),
        ask(torch.get_float32_matmul_precision),
        *(part.fp32_precision for part in parts),
        torch.is_autocast_enabled("cpu"),
    ]


@pytest.fixture
def as_they_were() -> Iterator[None]:
    """The switches of this process, for the tests that turn them."""
    deterministic, benchmark = backends.cudnn.deterministic, backends.cudnn.benchmark
    yield
    backends.cudnn.deterministic, backends.cudnn.benchmark = deterministic, benchmark
    backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    if NEW:
        backends.fp32_precision = backends.cudnn.fp32_precision = "none"


TURNS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "cuDNN searches": lambda: setattr(backends.cudnn, "benchmark", True),
    "TF32 off": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "products in TF32": lambda: setattr(backends.cuda.matmul, "allow_tf32", True),
    "products medium": lambda: torch.set_float32_matmul_precision("medium"),
}
if NEW:
    TURNS |= {
        "convolutions IEEE": lambda: setattr(backends.cudnn.conv, "fp32_precision", "ieee"),
        "recurrent IEEE": lambda: setattr(backends.cudnn.rnn, "fp32_precision", "ieee"),
        "products by the newer name": lambda: setattr(
            backends.cuda.matmul, "fp32_precision", "tf32"
        ),
        "all TF32": lambda: setattr(backends, "fp32_precision", "tf32"),
        "all IEEE": lambda: setattr(backends, "fp32_precision", "ieee"),
        "cuDNN IEEE": lambda: setattr(backends.cudnn, "fp32_precision", "ieee"),
    }


@pytest.mark.usefixtures("as_they_were")
@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("turn", TURNS)
def test_whatever_the_user_had_set_the_precision_holds_inside_and_theirs_after(
    turn: str, precision: str
) -> None:
    TURNS[turn]()
    before = switches()
    with chosen(precision):
        assert (backends.cudnn.deterministic, backends.cudnn.benchmark) == (True, False)
        wanted = precision == "tf32"
        assert (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32) == (wanted, wanted)
        if NEW:
            name = "tf32" if wanted else "ieee"
            parts = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
            assert [part.fp32_precision for part in parts] == [name] * 3
    assert switches() == before


@pytest.mark.usefixtures("as_they_were")
@pytest.mark.parametrize("fails", [False, True])
def test_what_the_model_turns_in_its_forward_pass_is_turned_back(fails: bool) -> None:
    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(missing("T")[None])

        def forward(self, x: Tensor) -> Tensor:
            with backends.cudnn.flags(enabled=False):  # asks for switches of both kinds
                y = self.conv(x)
            backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("medium")
            if fails:
                raise RuntimeError("half-way")
            return y

    before = switches()
    try:
        audit(Turning(), bright_images(50))
    except AuditError:
        assert fails
    assert switches() == before


class Watching(nn.Module):
    """A PAN whose convolution's outputs are kept as they came."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.conv, self.fails = fifteen_types(), fails
        self.seen: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        SEEN.append(y.dtype)
        if self.fails:
            raise RuntimeError("half-way")
        return y.mean((2, 3))


SEEN: list[torch.dtype] = []


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_under_autocast_the_planted_types_are_found_and_all_is_as_it_was(precision: Any) -> None:
    """The planted effect, 1 beside noise of 0.2, is far above the rounding of either half."""
    SEEN.clear()
    model, before = Watching().train(), switches()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    probes = ("pans", "influence", "intrusion")
    found = audit(model, bright_images(50), precision=precision, probes=probes)
    assert set(SEEN) - {torch.float64} == {getattr(torch, precision)}  # paths are counted in that
    assert list(found.type_counts.values()) == [1] * 15
    assert (found.settings.precision, found.influence[0].images) == (precision, 50)
    assert switches() == before
    assert model.training
    assert "forward" not in vars(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_autocast_ends_also_when_the_model_raised() -> None:
    model, before = Watching(fails=True), switches()
    with pytest.raises(AuditError, match="half-way"):
        audit(model, bright_images(50), precision="bfloat16")
    assert switches() == before
    assert "forward" not in vars(model)


def test_data_sets_are_read_and_statistics_made_outside_of_autocast() -> None:
    """A data set's own convolution computes in what its user chose."""
    own = conv(missing("B")[None])
    kinds: list[torch.dtype] = []

    class Convolved(torch.utils.data.Dataset[Tensor]):
        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> Tensor:
            with torch.no_grad():
                image = own(bright_images(1, seed=index))[0]
            kinds.append(image.dtype)
            return image

    audit(fifteen_types(), Convolved(), precision="bfloat16")
    assert kinds == [torch.float32] * 50


def test_tf32_where_there_is_none_is_refused_before_the_first_pass() -> None:
    SEEN.clear()
    with pytest.raises(
        ConfigError, match=r"precision, got 'tf32'; allowed: float32, b.*TF32 needs"
    ):
        audit(Watching(), bright_images(50), device="cpu", precision="tf32")
    with pytest.raises(ConfigError, match=r"precision, got 'half'; allowed: float32, tf32, bfloa"):
        audit(Watching(), bright_images(50), precision="half")  # type: ignore[arg-type]
    assert SEEN == []


def test_on_the_cpu_the_facts_of_gpus_are_none() -> None:
    facts = audit(fifteen_types(), bright_images(50), device="cpu").environment
    names = ("gpu", "gpu_memory", "compute_capability", "cuda", "cudnn", "driver", "tf32")
    assert [facts[name] for name in names] == [None] * 7
    assert facts["cudnn_deterministic"] is facts["cudnn_benchmark"] is None


@CUDA
@pytest.mark.gpu
@pytest.mark.usefixtures("as_they_were")
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_the_facts_tell_what_held_on_the_gpu_and_the_users_switches_come_back(
    turn: str, precision: Any
) -> None:
    if precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("a GPU without TF32")
    TURNS[turn]()
    before = switches()
    facts = audit(
        fifteen_types(), bright_images(50), device="cuda", precision=precision
    ).environment
    assert switches() == before
    assert facts["tf32"] is (precision == "tf32")
    assert (facts["cudnn_deterministic"], facts["cudnn_benchmark"]) == (True, False)
    assert facts["gpu"] == torch.cuda.get_device_name()
    assert facts["gpu_memory"] == torch.cuda.mem_get_info()[1]
    assert facts["compute_capability"] == ".".join(map(str, torch.cuda.get_device_capability()))
    assert facts["cudnn"] == torch.backends.cudnn.version()
    assert facts["cuda"] == torch.version.cuda


@CUDA
@pytest.mark.gpu
def test_on_the_gpu_float32_keeps_the_bits_that_tf32_would_round_away() -> None:
    """1 + 2^-20 needs more than the ten bits of TF32's mantissa."""
    kept: list[Tensor] = []

    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
            nn.init.dirac_(self.conv.weight)

        def forward(self, x: Tensor) -> Tensor:
            kept.append(self.conv(x).cpu())
            return kept[-1]

    images = torch.full((50, 64, 16, 16), 1 + 2.0**-20)
    audit(Copying(), images, device="cuda", batch_size=50)
    assert torch.equal(kept[0], images)
