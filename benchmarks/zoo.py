"""Audits of many architectures beside an independent enumeration and scipy.

    python benchmarks/zoo.py [name ...] [--only torchvision:] [--images 8]
                             [--results zoo.jsonl] [--markdown table.md]

Every architecture of torchvision, and one architecture of each family of timm where that is
installed, with random weights on small random images. The padded convolutions are enumerated anew
from the operations that PyTorch dispatches, and the labels of the first, the middle and the last
examined site are computed by scipy (``zoo_check.py``). Each architecture runs in a process of its
own, with a limit of time and one of memory: one that hangs is a row, and not the end.

``--results`` keeps a line of JSON for each; a second run goes on after those that are there. A
name such as ``timm:resnet18`` or ``torchvision:vgg11`` runs that alone. The exit code is 1 where
anything differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import warnings
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import zoo_table
from zoo_check import Outcome, run
from zoo_models import architectures, family_of


def run_apart(name: str, count: int, seconds: float, memory: int) -> Outcome:
    """Run one architecture in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, name, count, memory))
    process.start()
    there.close()
    try:
        if here.poll(seconds):
            return here.recv()
        error = f"not ready after {seconds:.0f} s"
    except EOFError:
        process.join()
        error = f"its process ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    return Outcome(name, family_of(name), error=error)


def _send(there: Connection, name: str, count: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    there.send(run(name, count))
    there.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--only", default="", help="architectures whose names begin so")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=240, help="limit of each")
    parser.add_argument("--memory", type=float, default=6, help="limit of each, in GiB")
    parser.add_argument("--results", type=Path, help="JSON lines to go on with")
    parser.add_argument("--markdown", type=Path, help="table to write")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    outcomes = _known(options.results)
    for name in options.names or architectures():
        if name in outcomes or not name.startswith(options.only):
            continue
        memory = int(options.memory * 2**30)
        one = outcomes[name] = run_apart(name, options.images, options.seconds, memory)
        print(_line(one), flush=True)
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(one)) + "\n")
    found = [*outcomes.values()]
    if options.markdown:
        options.markdown.write_text(zoo_table.markdown(found))
    print(zoo_table.summary(found))
    sys.exit(not all(each.is_good for each in found))


def _known(results: Path | None) -> dict[str, Outcome]:
    """What a file of results has, by name: the last of each."""
    if results is None or not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return {line["name"]: Outcome(**line) for line in lines}


def _line(one: Outcome) -> str:
    state = "ok" if one.is_good else "DIFFERS"
    said = one.refused or one.error
    return (
        f"{state} {one.name}: {one.sites} sites, {one.neurons:,} neurons, {one.labels} labels, "
        f"{one.wrong} wrong, {one.missed} missed, {one.seconds:.1f} s {said}"
    )


if __name__ == "__main__":
    main()
