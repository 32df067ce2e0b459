"""Train the networks of the study: one in this process, all of them in parallel processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pytest_pan.inputs.loading import available_cpus
from pytest_pan.instrument.devices import describe_device, resolve_device
from pytest_pan.records.errors import PanError
from pytest_pan.studies.border_handling import data
from pytest_pan.studies.border_handling.network import Network
from pytest_pan.studies.border_handling.records import SCHEMES, Protocol, Run, Scheme, Study

Progress = Callable[[int, int, Run], None]
"""Called after each run with the number of finished runs, that of all runs, and the run."""


def study(
    protocol: Protocol,
    seeds: Sequence[int],
    *,
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total, run: None,
) -> Study:
    """Train a network of each scheme and seed, in parallel processes of one thread each.

    The number of workers (by default that of CPUs) does not change any figure. Raises
    :class:`ConfigError` for a device that does not exist, and :class:`PanError` if a process dies.
    """
    where = resolve_device(device)
    jobs = [(scheme, seed) for seed in seeds for scheme in SCHEMES]
    pool = ProcessPoolExecutor(
        min(workers or available_cpus(), len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare,
    )
    found = {}
    try:
        futures = [pool.submit(train, *job, protocol, str(where)) for job in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            run = future.result()
            found[run.scheme, run.seed] = run
            progress(done, len(jobs), run)
    except BrokenProcessPool:
        raise PanError(
            "a training process died",
            where="study border-handling",
            next="If memory ran out, try fewer --workers.",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return Study(
        protocol=protocol,
        seeds=tuple(seeds),
        device=describe_device(where) if where.type == "cuda" else str(where),
        torch=str(torch.__version__),
        runs=tuple(found[scheme.name, seed] for scheme in SCHEMES for seed in seeds),
    )


def _prepare() -> None:
    torch.set_num_threads(1)  # more threads add in another order
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback


def train(scheme: Scheme, seed: int, protocol: Protocol, device: str = "cpu") -> Run:
    """Train one network and test it.

    The images of training, similar test and dissimilar test each have a seed of their own, as have
    weights and the order of images. Networks of one seed differ in their padding only.
    """
    *splits, training = np.random.SeedSequence(seed).spawn(4)
    counts = (protocol.images, protocol.tests, protocol.tests)
    sets = [
        _moved(data.draw(count, split, dissimilar=dissimilar), device)
        for count, split, dissimilar in zip(counts, splits, (False, False, True), strict=True)
    ]
    order = torch.Generator().manual_seed(int(training.generate_state(2)[1]))
    with (
        torch.random.fork_rng(devices=[]),
        torch.backends.cudnn.flags(deterministic=True, allow_tf32=False),
    ):
        torch.manual_seed(int(training.generate_state(2)[0]))
        network = Network(scheme).to(device)
        losses = _fit(network, *sets[0], protocol, order)
        accuracies = [_accuracy(network, *each) for each in sets]
    return Run(
        scheme=scheme.name,
        seed=seed,
        training=accuracies[0],
        similar=accuracies[1],
        dissimilar=accuracies[2],
        losses=losses,
    )


def _moved(drawn: tuple[Tensor, Tensor], device: str) -> tuple[Tensor, Tensor]:
    images, labels = drawn
    return images.to(device), labels.to(device)


def _fit(
    network: Network, images: Tensor, labels: Tensor, protocol: Protocol, order: torch.Generator
) -> tuple[float, ...]:
    """Train with Adadelta at PyTorch's defaults; return the mean loss of each epoch."""
    optimizer = torch.optim.Adadelta(network.parameters())
    losses = []
    for _ in range(protocol.epochs):
        total = torch.zeros((), device=images.device)
        for batch in torch.randperm(len(images), generator=order).split(protocol.batch):
            batch = batch.to(images.device)
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        losses.append(float(total) / len(images))
    return tuple(losses)


@torch.no_grad()
def _accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    right = sum(
        int((network(some).argmax(1) == truth).sum())
        for some, truth in zip(images.split(250), labels.split(250), strict=True)
    )
    return right / len(images)
