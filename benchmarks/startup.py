"""What the installed plugin costs a run that does not audit: paired runs of ``--collect-only``.

Each pair is one run with the plugin and one with ``-p no:pan``, in turn which comes first; the
median of the differences is held against 20 ms. Also tells what the plugin imported.

    python benchmarks/startup.py [PAIRS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

ALLOWED = 20.0
"""Milliseconds."""

HEAVY = ("torch", "numpy", "scipy", "jinja2", "numba")
OTHERS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist")
"""Plugins and files of others that would only add noise."""

LOADED = f"""
import sys

def pytest_unconfigure(config):
    print("heavy:", sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def timed(folder: Path, *options: str) -> tuple[float, float]:
    """Milliseconds of one run, by the clock and of the processor."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *OTHERS, *options]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, env=_env(folder), capture_output=True)  # noqa: S603
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * took, 1000 * used


def _env(folder: Path) -> dict[str, str]:
    """The environment, with bytecode written (into the folder), as it is for users."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def loaded(folder: Path) -> str:
    """Which heavy modules a run with the plugin has imported at its end."""
    (folder / "conftest.py").write_text(LOADED)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qs", *OTHERS]
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, check=True, env=_env(folder), capture_output=True, text=True
    )
    (folder / "conftest.py").unlink()
    return next(line for line in done.stdout.splitlines() if line.startswith("heavy:"))


def main(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_one.py").write_text("def test_one(): ...\n")
        print(loaded(folder))
        timed(folder), timed(folder, "-p", "no:pan")  # bytecode and disk caches
        with_it, without = [], []
        for number in range(pairs):
            order = [(), ("-p", "no:pan")]
            took = {options: timed(folder, *options) for options in order[:: 1 - number % 2 * 2]}
            with_it.append(took[()])
            without.append(took["-p", "no:pan"])
    print(f"{pairs} pairs on {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for place, what in enumerate(("by the clock", "of the processor")):
        added = [a[place] - b[place] for a, b in zip(with_it, without, strict=True)]
        low, middle, high = quantiles(added, n=4)
        fastest = min(a[place] for a in with_it) - min(b[place] for b in without)
        print(
            f"{what}: {median(run[place] for run in without):.0f} ms without it, it adds "
            f"{middle:.1f} ms (medians; quartiles {low:.1f}, {high:.1f}; "
            f"between the fastest runs {fastest:.1f}); allowed {ALLOWED:.0f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
