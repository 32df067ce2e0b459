"""Which of several processes this is, as torchrun and other launchers tell by the environment."""

from __future__ import annotations

import os

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched() -> tuple[int, int]:
    """Rank and number of processes; (0, 1) where none were launched together."""
    if any(not os.environ.get(name) for name in _NEEDED):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def local() -> int:
    """This process's place on its machine, for choosing a device: torchrun's, or xdist's."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and worker[2:].isdigit():
        return int(worker[2:])
    return int(os.environ.get("LOCAL_RANK") or 0) if launched()[1] > 1 else 0
