"""Loading in worker processes and in shards: the images are those of one process, bit for bit."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import paint, red, truncated
from nets import fifteen_types
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pytest_pan import AuditError, ConfigError, InputError, PanError, audit
from pytest_pan.inputs.digests import combined
from pytest_pan.inputs.images import Images

Share = Callable[[list[Images]], Images]


class Drawn(Dataset[Tensor]):
    """Images of nothing but draws, from each of the three global generators."""

    def __init__(self, count: int = 7) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        draws = (random.random(), float(np.random.rand()), float(torch.rand(())))
        return torch.tensor(draws)[:, None, None].expand(3, 4, 4).clone()


class Process(Dataset[Tensor]):
    """Images of the number of the process that loads them."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((1, 4, 4), float(os.getpid()), dtype=torch.float64)


class Raising(Drawn):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __getitem__(self, index: int) -> Tensor:
        if index == 5:
            raise self.error
        return super().__getitem__(index)


def all_of(source: object, **settings: Any) -> Tensor:
    return torch.cat([batch for batch, _ in Images(source, **settings)])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_random_draws_depend_on_seed_and_index_alone(size: int, workers: int) -> None:
    drawn = all_of(Drawn(), batch_size=size, workers=workers)
    assert torch.equal(drawn, all_of(Drawn()))
    assert len(drawn[:, :, 0, 0].unique()) == 21
    assert not (drawn == all_of(Drawn(), seed=1)).any()


def test_loading_leaves_the_draws_of_others_alone() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [draws() for _ in range(4)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    met = [draws()]
    for _ in Images(Drawn(), batch_size=4, workers=0):
        met.append(draws())
    assert [*met, draws()] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_as_many_processes_load_as_are_asked_for(workers: int) -> None:
    found = set(all_of(Process(), batch_size=1, workers=workers).flatten().tolist())
    assert len(found) == max(workers, 1)
    assert (os.getpid() in found) == (workers == 0)


@pytest.mark.parametrize(
    ("source", "asked", "used"),
    [
        (torch.rand(4, 1, 8, 8), 3, 0),
        (Drawn(), None, 0),
        (Drawn(), 3, 3),
        (DataLoader(Drawn(), num_workers=1), 3, 1),
    ],
)
def test_the_number_of_workers_is_the_sources_or_the_one_asked_for(
    source: Any, asked: int | None, used: int
) -> None:
    assert Images(source, workers=asked).workers == used


def test_by_itself_only_our_transform_of_files_bound_for_a_gpu_is_worth_workers(
    tmp_path: Path,
) -> None:
    paint(tmp_path / "a.png")
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert Images(tmp_path, device=gpu).workers == min(8, cpus or 1)
    assert Images(tmp_path, device=cpu).workers == 0
    assert Images(tmp_path, device=gpu, transform=red).workers == 0
    assert Images(tmp_path, device=gpu, workers=0).workers == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_and_skips_arrive_from_every_process_once(tmp_path: Path, workers: int) -> None:
    for name in ("cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png"):
        paint(tmp_path / name)
    broken = tmp_path / "cat" / "bad.jpg"
    truncated(broken)
    images = Images(
        tmp_path, transform=red, bad_images="skip", batch_size=2, workers=workers, seed=3
    )
    for _ in range(2):
        labels = [label for _, known in images for label in known.tolist()]  # type: ignore
        assert labels == [0, 0, 1, 1]
        assert [skip.what for skip in images.skips] == [str(broken)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_is_named_by_every_process_alike(tmp_path: Path, workers: int) -> None:
    paint(tmp_path / "a.png")
    truncated(tmp_path / "b.jpg")
    with pytest.raises(InputError, match=r"^[^\n]*b\.jpg: broken image file [^\n]*Repair") as info:
        all_of(tmp_path, transform=red, workers=workers)
    assert info.value.where == str(tmp_path / "b.jpg")


class UnpicklableError(Exception):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number} {text}")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("lost.png"), r"KeyError: 'lost\.png'"),
        (UnpicklableError(5, "gone"), r"UnpicklableError: 5 gone|RuntimeError: Unp.*: 5 gone"),
    ],
)
def test_what_a_data_set_raises_is_said_in_a_line_from_every_process(
    error: Exception, text: str, workers: int
) -> None:
    with pytest.raises(InputError, match=rf"^images of Raising: [^\n]*({text})[^\n]*got 4") as info:
        all_of(Raising(error), batch_size=2, workers=workers)
    if workers and isinstance(error, KeyError):
        assert "test_loading.py" in "".join(info.value.__cause__.__notes__)  # type: ignore


@pytest.mark.parametrize("kind", [PanError, ConfigError, InputError, AuditError])
def test_our_errors_arrive_whole_from_another_process(kind: type[PanError]) -> None:
    sent = kind("what", where="where", got="got", allowed="allowed", next="Next.")
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301, our own bytes
    assert type(arrived) is kind
    assert (str(arrived), vars(arrived)) == (str(sent), vars(sent))


def test_images_of_different_shapes_are_refused_from_a_worker_too() -> None:
    class Growing(Drawn):
        def __getitem__(self, index: int) -> Tensor:
            return torch.zeros(1, 8 + index // 4, 8)

    with pytest.raises(InputError, match=r"^Growing: images of dif.*\(1, 8, 8\), \(1, 9, 8\)"):
        all_of(Growing(), batch_size=7, workers=1)


def children() -> set[str]:
    """Process ids of this process's children, as the kernel has them."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {child for task in tasks for child in task.read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the kernel does not tell")
def test_a_model_that_raises_leaves_no_process_loading_on() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("half-way")

    before = children()
    with pytest.raises(AuditError, match="half-way") as info:
        audit(Fails(), Drawn(60), batch_size=2, workers=2)
    assert children() <= before
    assert info.value.audit is not None


@pytest.mark.filterwarnings("error")
def test_an_audit_is_the_same_whoever_loads() -> None:
    class Grey(Drawn):
        def __getitem__(self, index: int) -> Tensor:
            return 1 + 0.2 * torch.rand(1, 16, 16)

    one, two = (
        audit(fifteen_types(), Grey(60), batch_size=size, workers=workers)
        for size, workers in ((60, 0), (7, 2))
    )
    assert one.neurons == two.neurons
    assert one.images == {**two.images, "batches": "1 of 60"}
    assert (one.settings.workers, two.settings.workers) == (0, 2)


@pytest.mark.parametrize("workers", [-1, 1.0, True, "auto"])
def test_a_number_of_workers_that_is_none_is_refused(workers: Any) -> None:
    with pytest.raises(ConfigError, match=r"workers, got .*; allowed: None, a whole number from 0"):
        audit(fifteen_types(), Drawn(), workers=workers)


SOURCES: dict[str, Any] = {
    "tensor": lambda: torch.rand(11, 1, 4, 4, generator=torch.Generator().manual_seed(0)),
    "data set": lambda: Drawn(11),
    "loader": lambda: DataLoader(
        TensorDataset(SOURCES["tensor"](), torch.arange(11)), batch_size=3
    ),
}


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
@pytest.mark.parametrize("source", SOURCES)
def test_shards_have_together_the_batches_of_one_process_by_their_numbers(
    source: str, ranks: int
) -> None:
    whole = [batch for batch, _ in Images(SOURCES[source](), batch_size=3)]
    assert len(whole) == 4
    met: dict[int, Tensor] = {}
    for rank in range(ranks):
        images = Images(SOURCES[source](), batch_size=3, shard=(rank, ranks))
        assert images.expected == 11
        for batch, _ in images:
            assert images.batch % ranks == rank
            met[images.batch] = batch
    assert sorted(met) == [0, 1, 2, 3]
    assert all(torch.equal(met[number], batch) for number, batch in enumerate(whole))


def test_the_digests_of_shards_put_together_are_the_digest_of_all(share: Share) -> None:
    images = [Images(Drawn(11), batch_size=2, shard=(rank, 3)) for rank in range(3)]
    for shard in images:
        assert len(list(shard)) == 2
    first = share(images)
    one = Images(Drawn(11), batch_size=4)
    assert sum(len(batch) for batch, _ in one) == len(first.digests) == 11
    assert first.facts()["digest"] == one.facts()["digest"] == combined(one.digests)
    assert len(set(one.digests)) == 11


def test_other_shards_items_are_not_loaded() -> None:
    asked = []

    class Counting(Drawn):
        def __getitem__(self, index: int) -> Tensor:
            asked.append(index)
            return super().__getitem__(index)

    list(Images(Counting(11), batch_size=2, shard=(1, 3)))
    assert asked == [2, 3, 8, 9]


def test_a_batch_of_broken_files_keeps_its_number_and_its_place(tmp_path: Path) -> None:
    for name in ("c.png", "d.png"):
        paint(tmp_path / name)
    for name in ("a.jpg", "b.jpg"):
        truncated(tmp_path / name)
    images = Images(tmp_path, transform=red, bad_images="skip", batch_size=2, workers=1)
    assert [images.batch for _ in images] == [1]
    assert len(images.skips) == 2


def test_a_shard_without_images_is_no_error_and_a_source_without_is() -> None:
    assert list(Images(Drawn(2), shard=(1, 2))) == []
    for ranks in (1, 2):
        images = Images(torch.zeros(0, 1, 4, 4), shard=(0, ranks))
        if ranks == 1:
            with pytest.raises(InputError, match="no images"):
                list(images)
        else:
            assert not any(len(batch) for batch, _ in images)


def test_in_a_shard_an_image_that_is_not_finite_is_named_by_its_batch() -> None:
    bad = torch.zeros(8, 1, 4, 4)
    bad[7, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="tensor, image 1 of batch 3: not a finite image"):
        list(Images(bad, batch_size=2, shard=(1, 2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: this path has not run")
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_bound_for_a_gpu_is_pinned_and_the_audit_finds_the_same(workers: int) -> None:
    class Grey(Drawn):
        def __getitem__(self, index: int) -> Tensor:
            return 1 + 0.2 * torch.rand(1, 16, 16)

    images = Images(Grey(), batch_size=3, workers=workers, device=torch.device("cuda"))
    assert all(batch.is_pinned() for batch, _ in images)
    there, here = (
        audit(fifteen_types(), Grey(60), batch_size=7, workers=workers, device=device)
        for device in ("cuda", "cpu")
    )
    assert there.images == here.images
    assert [neuron.type for neuron in there.neurons] == [neuron.type for neuron in here.neurons]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: this path has not run")
@pytest.mark.filterwarnings("error")
def test_files_bound_for_a_gpu_are_loaded_by_workers_and_nothing_warns(tmp_path: Path) -> None:
    for number in range(60):
        noise = np.random.default_rng(number).integers(0, 255, (300, 300, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    model = nn.Conv2d(3, 4, 3, padding=1)
    there = audit(model, tmp_path, device="cuda")
    assert there.settings.workers == Images(tmp_path, device=torch.device("cuda")).workers > 0
    assert there.images["digest"] == audit(model, tmp_path, device="cpu").images["digest"]
