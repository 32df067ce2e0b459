"""Processes that share an audit, as torchrun starts them; usually there is only one.

Every process runs the same tests in the same order, sees its share of the images, and has the
whole result in the end. They meet at named points; one that has failed says so at its next
meeting, so that the others end with its message instead of waiting for it.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pytest_pan.instrument.ranks import launched
from pytest_pan.records.errors import PanError

_T = TypeVar("_T")
_FAILED = "pan/failed"
_BEAT = 0.5
"""Seconds between heartbeats, which tell a dead process from a slow one."""


class RankError(PanError):
    """Another process of the audit failed or ended."""


@dataclass(frozen=True)
class Processes:
    """This process's rank among the processes of an audit; ``Processes()`` is a single one."""

    rank: int = 0
    count: int = 1
    group: Any = None
    """A Gloo group: what is exchanged is on the CPU, whatever the model runs on."""
    store: Any = None
    """Store for heartbeats; None if the group was made by someone else."""

    def meet(self, point: str, thing: _T, *, error: str = "") -> list[_T]:
        """Exchange a ``thing`` with all processes; return them in the order of the ranks.

        Raises :class:`RankError` if another process comes with an error, or to another point.
        """
        if self.count == 1:
            return [thing]
        met: list[Any] = [None] * self.count
        self._together(lambda: dist.all_gather_object(met, (point, error, thing), group=self.group))
        failed = [(rank, text) for rank, (_, text, _) in enumerate(met) if text]
        if error:
            return []  # ours was heard; what ended us is raised where it arose
        if failed:
            raise RankError("; ".join(f"rank {rank} failed: {text}" for rank, text in failed))
        points = {rank: place for rank, (place, _, _) in enumerate(met)}
        if len(set(points.values())) > 1:
            raise RankError(
                "the processes are not at the same audit",
                got=", ".join(f"rank {rank}: {place}" for rank, place in points.items()),
                next="Every process must run the same tests in the same order on the same images.",
            )
        return [each for _, _, each in met]

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Raise :class:`RankError` if the processes are not about to audit the same."""
        met = self.meet("beginning", dict(facts))
        for rank, theirs in enumerate(met):
            differ = [name for name in facts if theirs.get(name) != met[0].get(name)]
            if differ:
                raise RankError(
                    "the processes are not at the same audit",
                    got=f"another {' and other '.join(differ)} on rank {rank} than on rank 0",
                    next="Every process must run the same tests in the same order.",
                )

    def tell(self, error: BaseException) -> None:
        """Report the error that ended this process's audit to the others, and wait for them."""
        if self.count == 1 or _heard(error):
            return
        with suppress(RuntimeError, RankError):  # what is told must not be lost in the telling
            if self.store is not None:
                self.store.set(_FAILED, "")
            self.meet("failed", None, error=f"{type(error).__name__}: {error}")
            if self.store is not None:
                self.store.delete_key(_FAILED)

    def check(self) -> None:
        """Raise :class:`RankError` if another process has failed; do not wait for the others."""
        if self.store is None:
            return
        try:
            failed = self.store.check([_FAILED])
        except RuntimeError as error:
            raise RankError(f"{self._missing()} in the middle of an audit") from error
        if failed:
            self.meet("stopped", None)

    def total(self, counts: Tensor) -> Tensor:
        """Return the sum over all processes; integers are exact."""
        if self.count > 1:
            self.meet("sum", None)  # who failed tells it here: a lone sum would wait for ever
            whole = counts.to("cpu", copy=True)
            self._together(lambda: dist.all_reduce(whole, group=self.group))
            counts = whole.to(counts.device)
        return counts

    def _together(self, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except RuntimeError as error:
            raise RankError(f"{self._missing()} in the middle of an audit") from error

    def _missing(self) -> str:
        """Return which processes have no heartbeat, after waiting for some."""
        if self.store is None:
            return "another process is gone"
        try:
            before = [self.store.add(f"pan/alive/{rank}", 0) for rank in range(self.count)]
            time.sleep(6 * _BEAT)
            after = [self.store.add(f"pan/alive/{rank}", 0) for rank in range(self.count)]
        except RuntimeError:  # the process that keeps the store is gone itself
            return "rank 0 is gone, or another one"
        still = [rank for rank in range(self.count) if before[rank] == after[rank]]
        names = ", ".join(f"rank {rank}" for rank in still) or "another process"
        return f"{names} {'are' if len(still) > 1 else 'is'} gone"


def _heard(error: BaseException | None) -> bool:
    """Return whether an error was caused by another process's, which all know."""
    while error is not None:
        if isinstance(error, RankError):
            return True
        error = error.__cause__ or error.__context__
    return False


ALONE = Processes()


def join() -> Processes:
    """Return the processes that torchrun or another launcher started; one if none did.

    Joins their process group, or makes a Gloo group in one that exists. Raises :class:`RankError`
    if they cannot be found.
    """
    if not dist.is_available():
        return ALONE
    if dist.is_initialized():
        rank, count = dist.get_rank(), dist.get_world_size()
        return Processes(rank, count, dist.new_group(backend="gloo")) if count > 1 else ALONE
    if launched()[1] == 1:
        return ALONE
    try:
        return _joined()
    except (RuntimeError, ValueError) as error:
        raise RankError(
            f"the other processes cannot be joined ({type(error).__name__}: {error})",
            next="Start all of them by torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and "
            "MASTER_PORT.",
        ) from error


def _joined() -> Processes:
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(iter(rendezvous("env://", timeout=timedelta(minutes=5))))
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=count, timeout=timedelta(hours=2)
    )
    signs, over = PrefixStore("pytest-pan", store), threading.Event()
    beating = threading.Thread(target=_beat, args=(signs, rank, over), daemon=True)
    beating.start()
    atexit.register(_leave, over, beating)
    return Processes(rank, count, store=signs)


def _beat(store: Any, rank: int, over: threading.Event) -> None:
    while not over.wait(_BEAT):
        try:
            store.add(f"pan/alive/{rank}", 1)
        except RuntimeError:
            return


def _leave(over: threading.Event, beating: threading.Thread) -> None:
    """Stop the heartbeat before the interpreter exits: a thread in the store would crash it."""
    over.set()
    beating.join()
    if dist.is_initialized():
        dist.destroy_process_group()
