"""Training: what it is given, how it is scored, and that processes change nothing."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from functools import partial
from os import _exit
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytest_pan.records.errors import ConfigError, PanError
from pytest_pan.studies.border_handling import data, training
from pytest_pan.studies.border_handling.records import SCHEMES, Protocol, Run

TINY = Protocol(images=64, epochs=2, batch=32, tests=4)


class ReadingRows(nn.Module):
    """Says class 0 where the boxes are in the upper half, whatever their colours."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sum((1, 3)).unflatten(1, (2, 16)).sum(2)


class ReadingColours(nn.Module):
    """Says class 0 where the red box is left of the green one, wherever they are."""

    def forward(self, images: Tensor) -> Tensor:
        red, green, _ = (images.sum(2) * torch.arange(32.0)).sum(2).T
        return torch.stack([green - red, red - green], 1)


@pytest.mark.parametrize(
    ("reader", "accuracies"), [(ReadingRows(), (1, 1, 0)), (ReadingColours(), (1, 1, 1))]
)
def test_reading_location_fails_the_dissimilar_test_and_reading_colours_passes_it(
    reader: nn.Module, accuracies: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Network", lambda scheme: reader)
    monkeypatch.setattr(training, "_fit", lambda *given: ())
    run = training.train(SCHEMES[0], 3, Protocol(images=600, tests=520))
    assert (run.training, run.similar, run.dissimilar) == accuracies


def test_networks_of_a_seed_differ_in_padding_only_and_each_split_has_its_own_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Any, ...]] = []
    drawn: list[Tensor] = []
    draw = data.draw

    def noted(*given: Any, **options: Any) -> tuple[Tensor, Tensor]:
        drawn.append(draw(*given, **options)[0])
        return draw(*given, **options)

    monkeypatch.setattr(data, "draw", noted)
    monkeypatch.setattr(training, "_fit", lambda *given: seen.append(given) or ())
    for scheme in SCHEMES:
        training.train(scheme, 3, Protocol(images=4, tests=4))
    training.train(SCHEMES[0], 4, Protocol(images=4, tests=4))
    *same, other = seen
    for network, images, labels, _, order in same[1:]:
        assert torch.equal(images, same[0][1])
        assert torch.equal(labels, same[0][2])
        assert torch.equal(order.get_state(), same[0][4].get_state())
        for name, weights in network.state_dict().items():
            assert torch.equal(weights, same[0][0].state_dict()[name])
    assert not torch.equal(other[1], same[0][1])
    assert not torch.equal(other[0].classifier.weight, same[0][0].classifier.weight)
    fit, similar, dissimilar = drawn[:3]
    back = dissimilar.roll(16, dims=2)  # the same rows again: of 32, up and down 16 are one
    assert not torch.equal(fit, similar)
    assert not torch.equal(similar, back)
    assert not torch.equal(fit, back)


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    training.train(SCHEMES[0], 0, Protocol(images=2, epochs=1, tests=2))
    assert torch.equal(torch.rand(3), expected)


def test_the_first_loss_is_that_of_the_network_before_any_step() -> None:
    protocol = Protocol(images=8, epochs=1, batch=8, tests=2)
    images, labels = data.draw(8, np.random.SeedSequence(2), dissimilar=False)
    network = training.Network(SCHEMES[1])
    with torch.no_grad():
        logits = network(images).double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(shares[np.arange(8), labels.numpy()]).mean()
    (loss,) = training._fit(network, images, labels, protocol, torch.Generator())
    assert math.isclose(loss, expected, rel_tol=1e-5)


def test_valid_padding_learns_to_read_location() -> None:
    """Location alone tells the class of every training image."""
    run = training.train(SCHEMES[0], 0, Protocol(images=600, epochs=3, tests=200))
    assert run.losses[-1] < 0.1 < run.losses[0]
    assert run.similar > 0.95
    assert run.dissimilar < 0.05


@pytest.fixture
def _same_process() -> Iterator[None]:
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_same_process")
def test_the_number_of_workers_changes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, int, Run]] = []
    several = training.study(TINY, [7], workers=2, progress=lambda *p: done.append(p))
    assert training.study(TINY, [7], workers=1) == several
    assert [p[:2] for p in done] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {p[2] for p in done} == set(several.runs)
    assert [run.scheme for run in several.runs] == [scheme.name for scheme in SCHEMES]
    torch.set_num_threads(1)
    assert training.train(SCHEMES[1], 7, TINY) == several.runs[1]


@pytest.mark.usefixtures("_same_process")
def test_a_worker_has_one_thread_because_more_would_add_in_another_order() -> None:
    torch.set_num_threads(3)
    training._prepare()
    assert torch.get_num_threads() == 1


def test_a_process_that_dies_ends_the_study_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_prepare", partial(_exit, 3))
    with pytest.raises(PanError, match=r"process died\. If memory ran out, try fewer --workers"):
        training.study(TINY, [0], workers=1)


def test_a_device_that_does_not_exist_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"device, got 'cuda:99'; allowed: auto, cpu"):
        training.study(TINY, [0], device="cuda:99")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: this path has not run")
def test_on_a_gpu_the_same_seed_gives_the_same_run() -> None:
    runs = [training.train(SCHEMES[2], 1, TINY, "cuda") for _ in range(2)]
    assert runs[0] == runs[1]
