"""Shares of the channels on threads of their own, for compiled loops that hold no lock."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

Share = tuple[int, int]
"""The first channel, and the one after the last."""


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that stay: to start one takes a millisecond, as long as a small layer."""
    return ThreadPoolExecutor(workers, thread_name_prefix="pytest-pan")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share_out(work: Callable[[Share], None], channels: int) -> None:
    """Calls ``work`` with a share of the channels for each of torch's threads, this one too."""
    workers = max(1, min(torch.get_num_threads(), channels))
    cuts = [channels * worker // workers for worker in range(workers + 1)]
    mine, *others = itertools.pairwise(cuts)
    if not others:
        work(mine)
        return
    pool = _pool(torch.get_num_threads() - 1)  # the same for layers of fewer channels
    waiting = [pool.submit(work, share) for share in others]
    try:
        work(mine)
    finally:
        for each in waiting:
            each.exception()  # none is left at work on arrays that the caller lets go
    for each in waiting:
        each.result()
