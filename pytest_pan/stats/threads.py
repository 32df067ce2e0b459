"""Division of channels among threads, for compiled loops that release the GIL."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

Share = tuple[int, int]
"""First channel, and the one after the last."""


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Return a persistent pool: starting a thread takes a millisecond, as long as a small layer."""
    return ThreadPoolExecutor(workers, thread_name_prefix="pytest-pan")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share_out(work: Callable[[Share], None], channels: int) -> None:
    """Call ``work`` with a share of the channels on each thread, the current one included.

    The number of threads is torch's.
    """
    workers = max(1, min(torch.get_num_threads(), channels))
    cuts = [channels * worker // workers for worker in range(workers + 1)]
    own, *others = itertools.pairwise(cuts)
    if not others:
        work(own)
        return
    pool = _pool(torch.get_num_threads() - 1)  # same size for layers with fewer channels
    futures = [pool.submit(work, share) for share in others]
    try:
        work(own)
    finally:
        for future in futures:
            future.exception()  # wait: the caller may free the arrays afterwards
    for future in futures:
        future.result()
