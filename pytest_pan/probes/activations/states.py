"""Activations per site, accumulated over batches and mergeable across processes.

If the maps fit in memory they are kept whole, and the statistics are exact. Otherwise edges are
derived from each site's first batches, and only counts between the edges are kept. The choice and
the edges depend on the batches alone, not on the number of processes. (If the number of images is
unknown, several processes count from the start.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pytest_pan.instrument.capture import Samples
from pytest_pan.instrument.processes import ALONE, Processes
from pytest_pan.probes.activations import pilots
from pytest_pan.probes.activations.counted import Counted
from pytest_pan.records.errors import InputError
from pytest_pan.records.sites import Site
from pytest_pan.stats import binned, ks
from pytest_pan.stats.counts import Bounds


class State:
    """Activations of one site: whole maps, or counts once edges exist."""

    def __init__(self, site: Site, processes: Processes) -> None:
        self.site = site
        self.samples = Samples(site)
        self.counted: Counted | None = None
        self.processes = processes
        self._numbers: list[int] = []
        self._sent = 0
        self._images: int | None = None

    def add(self, maps: Tensor, number: int, *, owned: bool = False) -> int:
        """Add the maps (N, C, H, W) of a batch; return the number of bytes kept.

        ``number`` is the index of the batch's first image. ``owned`` maps are not modified
        elsewhere and need no copy.
        """
        if self.counted is not None:
            self.counted.add(maps)
            return 0
        held = self.samples.add(maps, owned=owned)
        self._numbers.append(number)
        return held

    @property
    def images(self) -> int:
        """Number of images that the site ran on; over all processes after :meth:`share`."""
        if self.counted is not None:
            return self.counted.images
        return self.samples.images if self._images is None else self._images

    @property
    def has_enough_values(self) -> bool:
        """Whether this process alone has enough border values to derive edges from."""
        values = self.samples.images * pilots.border_values(self.site)
        return values >= pilots.required_values(self.site)

    def unsent_parts(self) -> pilots.Parts:
        """Return the parts of batches that edges are derived from, each batch once."""
        parts = []
        for number, maps in list(zip(self._numbers, self.samples.maps, strict=True))[self._sent :]:
            batch = Samples(self.site)
            batch.maps = [maps]
            flat = maps.transpose(0, 1).flatten(1)
            part = torch.cat(batch.borders(), 1), flat.amin(1), flat.amax(1)
            if self.processes.count > 1:  # other processes may use another device
                part = part[0].cpu(), part[1].cpu(), part[2].cpu()
            parts.append((number, *part))
        self._sent = len(self._numbers)
        return parts

    def count(self, edges: Tensor, low: Tensor, high: Tensor) -> int:
        """Replace the kept maps by counts, now and for later batches; return the bytes freed."""
        self.counted = Counted(self.site, edges, low, high)
        freed = 0
        while self.samples.maps:
            maps = self.samples.maps.pop(0)
            self.counted.add(maps)
            freed += maps.nbytes
        return freed

    def share(self) -> None:
        """Merge the counts, or the number of images, over all processes."""
        if self.counted is not None:
            self.counted.share(self.processes)
        else:
            self._images = int(self.processes.total(torch.tensor(self.samples.images)))

    def line(self, side: str, distance: int, channels: Tensor | None = None) -> Tensor:
        """Return the sorted values of a line over all processes: (C, N * length)."""
        values = self._empty(channels)
        if self.samples.maps:
            values = self.samples.line(side, distance, channels)
        if self.processes.count > 1:
            values = torch.cat([part.cpu() for part in self.processes.meet("line", values)], 1)
        return ks.sort_rows(values)

    def centre(self, channels: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
        """Return the sorted centre values of this process: (C, m)."""
        if not self.samples.maps:
            return self._empty(channels)
        return ks.sort_rows(self.samples.centre(channels, out=out), in_place=True)

    def _empty(self, channels: Tensor | None) -> Tensor:
        return torch.zeros(self.site.channels if channels is None else len(channels), 0)

    @property
    def size(self) -> int:
        """Number of centre values per channel over all processes."""
        height, width = self.site.map
        return self.images * (height - 2) * (width - 2)

    def compared(self, borders: list[Tensor], centre: Tensor) -> ks.KS:
        """Return statistics of sorted lines; ``centre`` is this process's sorted part."""
        if self.processes.count == 1:
            return ks.sorted_statistics(borders, centre)
        total = self.processes.total
        return ks.sorted_statistics(borders, centre.cpu(), size=self.size, total=total)

    def total(self, counts: Tensor) -> Tensor:
        """Sum a tensor of counts over all processes."""
        return self.processes.total(counts)

    def range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the minimum and maximum of each channel over all processes: (C,) twice."""
        if self.processes.count == 1:
            return low, high
        met = self.processes.meet("range", (low.cpu(), high.cpu()))
        lows, highs = (torch.stack(list(column)) for column in zip(*met, strict=True))
        return lows.amin(0), highs.amax(0)

    def statistics(
        self,
        scratch: Callable[[State], Tensor | None] = lambda state: None,
        *,
        theta: float | None = None,
        near: float | None = None,
        values: int = 0,
    ) -> tuple[Bounds, Tensor]:
        """Return the statistics, and which channels contain non-finite values: (C,) bool.

        ``scratch`` supplies memory for the centre. ``values`` is the number of values in the whole
        audit, which decides whether compiled code pays off. With ``theta``, only the labels of all
        channels and the statistics of PANs need be exact; with ``near``, a lower threshold, also
        the statistics of channels that are PANs at ``near``.
        """
        if self.counted is not None:
            return self.counted.statistics(), self.counted.bad
        if self.processes.count == 1 and binned.worthwhile(values, self.samples.maps[0]):
            exact, finite = binned.binned_statistics(self.samples.maps, theta=theta, near=near)
            return Bounds(exact, exact), ~finite
        borders, centre = [self.line(side, 0) for side in "TBLR"], self.centre(out=scratch(self))
        exact = self.compared(borders, centre)
        good = [ks.finite_rows(rows) for rows in (*borders, centre) if rows.shape[1]]
        bad = ~torch.stack([each.to(borders[0].device) for each in good]).all(0)
        return Bounds(exact, exact), self.total(bad.int()).bool()


class States:
    """Activations of all sites, with at most ``memory`` bytes of whole maps.

    ``expected`` is the number of images over all processes, if known.
    """

    def __init__(
        self,
        memory: int,
        *,
        expected: int | None = None,
        processes: Processes = ALONE,
        name: str = "the network",
    ) -> None:
        self._name = name
        self.by_site: dict[str, State] = {}
        self.skips: dict[str, str] = {}
        self.changing: set[str] = set()
        """Skipped sites whose map size or channel count varies."""
        self.images = 0
        """Number of images of this process; of all processes after :meth:`finish`."""
        self.processes = processes
        self._memory, self._expected = memory, expected
        self._held = 0
        self._bounded: bool | None = None
        self._pilots: dict[str, pilots.Pilot] = {}
        self._has_all_edges = False

    @property
    def bounded(self) -> bool:
        """Whether any site keeps counts instead of whole maps."""
        return any(state.counted is not None for state in self.by_site.values())

    def add(self, site: Site, output: Tensor, number: int, *, owned: bool = False) -> None:
        """Add a call's output, (N, C, H, W) or (C, H, W); ``number`` as in :meth:`State.add`."""
        state = self.by_site.get(site.name)
        if state is None:
            state = self.by_site[site.name] = State(site, self.processes)
        elif (state.site.channels, state.site.map) != (site.channels, site.map):
            self.changing.add(site.name)
            self.skips[site.name] = (
                f"its map changes: {state.site.channels} channels of {state.site.map}, then "
                f"{site.channels} of {site.map}"
            )
        if site.name not in self.skips and output.numel():
            maps = output if output.dim() == 4 else output[None]
            self._held += state.add(maps, number, owned=owned)

    def end_batch(self, images: int) -> None:
        """Finish a batch: choose maps or counts after the first, free maps that do not fit."""
        self.images += images
        self.processes.check()
        self.round(last=False)
        if not self._bounded and self._held > self._memory:
            self._overflow()

    def round(self, *, last: bool) -> bool:
        """Exchange first batches with the other processes; return whether no round is needed.

        Every process takes part in each round. ``last``: this process has no more batches.
        """
        if self._bounded is None:
            self._decide()
        return self._exchange(last=last) if self._bounded and not self._has_all_edges else True

    def _decide(self) -> None:
        """Choose whole maps or counts by the memory that the first batch takes."""
        per_image = self._held / self.images if self.images else 0.0
        met = self.processes.meet(f"memory, {self._name}", (per_image, self._expected))
        largest = max(each for each, _ in met)
        lengths = [length for _, length in met if length is not None]
        if lengths:
            self._bounded = largest * max(lengths) > self._memory
        else:  # one process can switch later, several have to agree in advance
            self._bounded = self.processes.count > 1

    def _overflow(self) -> None:
        if self.processes.count > 1:
            raise InputError(
                "the loader returned more images than its length, and they do not fit in memory",
                got=f"{self.images} images in this process, {self._expected} expected in all",
                next="Correct the loader's length, or remove it so that values are counted from "
                "the start.",
            )
        self._bounded = True
        self._exchange(last=False)

    def _exchange(self, *, last: bool) -> bool:
        """Exchange first batches and set edges where they suffice; return whether all are done."""
        ready = [
            name
            for name, state in self.by_site.items()
            if state.counted is None
            and name not in self.skips
            # parts are copies: a single process makes them only once they suffice
            and (state.has_enough_values or self.processes.count > 1)
        ]
        if self.processes.count == 1:
            for name in ready:  # and for one site at a time
                self._add_parts([self._parts([name])])
            return last
        met = self.processes.meet(f"first batches, {self._name}", (last, self._parts(ready)))
        self._add_parts([theirs for _, theirs in met])
        self._has_all_edges = bool(self.by_site) and not self._pilots
        return self._has_all_edges or all(done for done, _ in met)

    def _parts(self, names: list[str]) -> dict[str, tuple[Site, pilots.Parts]]:
        states = {name: self.by_site[name] for name in names}
        return {name: (state.site, state.unsent_parts()) for name, state in states.items()}

    def _add_parts(self, received: list[dict[str, tuple[Site, pilots.Parts]]]) -> None:
        """Add first batches, and set the edges of each site that has enough values."""
        for by_site in received:
            for name, (site, parts) in by_site.items():
                self._pilots.setdefault(name, pilots.Pilot(site)).add(parts)
        for name in list(self._pilots):
            if (found := self._pilots[name].edges()) is None:
                continue
            site = self._pilots.pop(name).site
            state = self.by_site.setdefault(name, State(site, self.processes))
            device = state.samples.maps[0].device if state.samples.maps else found[0].device
            self._held -= state.count(*(part.to(device) for part in found))

    def disconnect(self) -> None:
        """Continue with this process's data only: the other processes are unreachable."""
        self.processes = ALONE
        for state in self.by_site.values():
            state.processes = ALONE

    def finish(self) -> None:
        """Merge the data of all processes, after the last batch and :func:`settle`."""
        if self.processes.count == 1:
            return
        sites: dict[str, Site] = {}
        images = 0
        own_sites = {n: s.site for n, s in self.by_site.items()}
        mine: Any = (own_sites, self.skips, self.changing, self.images)
        met = self.processes.meet(f"sites, {self._name}", mine)
        for theirs, skips, changing, count in met:
            for name, site in theirs.items():
                known = sites.setdefault(name, site)
                if (known.channels, known.map) != (site.channels, site.map):
                    self.changing.add(name)
                    self.skips[name] = f"its map changes: {known.map}, then {site.map}"
            self.skips |= skips
            self.changing |= changing
            images += count
        self.images = images
        self.by_site = {
            name: self.by_site.get(name) or State(site, self.processes)
            for name, site in sites.items()
        }
        for state in self.examined():
            state.share()

    def clear(self) -> None:
        """Discard all activations."""
        self.by_site = {}
        self._pilots = {}

    @property
    def values(self) -> int:
        """Number of values in the whole maps of examined sites."""
        return sum(maps.numel() for state in self.examined() for maps in state.samples.maps)

    def examined(self) -> list[State]:
        """Return the states of the sites that were not skipped, in network order."""
        is_single = self.processes.count == 1
        return [
            state
            for name, state in self.by_site.items()
            if name not in self.skips
            and (state.counted is not None or state.samples.maps or not is_single)
        ]


def settle(*several: States) -> None:
    """Run rounds until every process has had its last batch; pass all states of one pass."""
    is_done = several[0].processes.count == 1
    while not is_done:
        is_done = True
        for states in several:  # all of them in each round, as processes with batches do
            is_done &= states.round(last=True)
