"""Rank of this process, from the environment variables of torchrun and other launchers."""

from __future__ import annotations

import os

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched() -> tuple[int, int]:
    """Return rank and number of processes; (0, 1) if none were launched together."""
    if any(not os.environ.get(name) for name in _NEEDED):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def local() -> int:
    """Return this process's number on its machine, torchrun's or xdist's, for choosing a device."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and worker[2:].isdigit():
        return int(worker[2:])
    return int(os.environ.get("LOCAL_RANK") or 0) if launched()[1] > 1 else 0
