"""What a site's neurons gave, as states that add up over batches and over processes.

While they fit in memory the maps are kept whole, and the statistics are exact. Where they would
not, each site's first batches give edges, and from then on counts between them are all that is
kept. Which of the two, and which edges, follows from the batches, not from the number of processes
nor from when the memory ran out. (Where the number of images is not known beforehand, several
processes count from the start.)
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
    """One site: whole maps, or counts once there are edges."""

    def __init__(self, site: Site, processes: Processes) -> None:
        self.site = site
        self.samples = Samples(site)
        self.counted: Counted | None = None
        self.processes = processes
        self._numbers: list[int] = []
        self._told = 0
        self._images: int | None = None

    def add(self, maps: Tensor, number: int, *, owned: bool = False) -> int:
        """Takes maps (N, C, H, W) of a batch; returns the bytes it holds on to.

        ``number`` is that of its first image. Maps that nobody else will write to are
        ``owned`` and need no copy.
        """
        if self.counted is not None:
            self.counted.add(maps)
            return 0
        held = self.samples.add(maps, owned=owned)
        self._numbers.append(number)
        return held

    @property
    def images(self) -> int:
        """Images that the site ran on, over all processes once they have met."""
        if self.counted is not None:
            return self.counted.images
        return self.samples.images if self._images is None else self._images

    @property
    def enough(self) -> bool:
        """Whether edges can be taken from what this process has of it."""
        return self.samples.images * pilots.border_values(self.site) >= pilots.wanted(self.site)

    def parts(self) -> pilots.Parts:
        """What edges can be taken from and was not told yet."""
        found = []
        for number, maps in list(zip(self._numbers, self.samples.maps, strict=True))[self._told :]:
            alone = Samples(self.site)
            alone.maps = [maps]
            flat = maps.transpose(0, 1).flatten(1)
            told = torch.cat(alone.borders(), 1), flat.amin(1), flat.amax(1)
            if self.processes.count > 1:  # another process may have another device
                told = told[0].cpu(), told[1].cpu(), told[2].cpu()
            found.append((number, *told))
        self._told = len(self._numbers)
        return found

    def count(self, edges: Tensor, low: Tensor, high: Tensor) -> int:
        """Counts what was kept, and from now on all; returns the bytes let go."""
        self.counted = Counted(self.site, edges, low, high)
        freed = 0
        while self.samples.maps:
            maps = self.samples.maps.pop(0)
            self.counted.add(maps)
            freed += maps.nbytes
        return freed

    def share(self) -> None:
        """Puts together what the processes have of it."""
        if self.counted is not None:
            self.counted.share(self.processes)
        else:
            self._images = int(self.processes.total(torch.tensor(self.samples.images)))

    def line(self, side: str, distance: int, channels: Tensor | None = None) -> Tensor:
        """A line of all processes' images, sorted: (C, N * length)."""
        mine = self._none(channels)
        if self.samples.maps:
            mine = self.samples.line(side, distance, channels)
        if self.processes.count > 1:
            mine = torch.cat([part.cpu() for part in self.processes.meet("line", mine)], 1)
        return ks.sort_rows(mine)

    def centre(self, channels: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
        """The centre of this process's images, sorted: (C, m)."""
        if not self.samples.maps:
            return self._none(channels)
        return ks.sort_rows(self.samples.centre(channels, out=out), in_place=True)

    def _none(self, channels: Tensor | None) -> Tensor:
        return torch.zeros(self.site.channels if channels is None else len(channels), 0)

    @property
    def size(self) -> int:
        """Values in the centre of a channel, over all processes."""
        height, width = self.site.map
        return self.images * (height - 2) * (width - 2)

    def compared(self, borders: list[Tensor], centre: Tensor) -> ks.KS:
        """Statistics of sorted lines of all processes against this one's part of the centre."""
        if self.processes.count == 1:
            return ks.sorted_statistics(borders, centre)
        total = self.processes.total
        return ks.sorted_statistics(borders, centre.cpu(), size=self.size, total=total)

    def total(self, counts: Tensor) -> Tensor:
        """Sums a tensor of counts up over the processes."""
        return self.processes.total(counts)

    def range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of each channel over all processes: (C,) twice."""
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
        """The statistics, and which channels have values that are not finite: (C,) bool.

        ``scratch`` gives memory for the centre, ``values`` is how many the whole audit has: what
        is worth compiling depends on it. With ``theta`` only the statistics of PANs have to be
        exact, of those by ``near`` too where that is given, and the labels of all channels.
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
    """All sites' states, within ``memory`` bytes of whole maps.

    ``expected``: how many images there are to come, over all processes, where that is known.
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
        """The skipped sites that have maps of several sizes."""
        self.images = 0
        """Of this process; of all once they have met."""
        self.processes = processes
        self._memory, self._expected = memory, expected
        self._held = 0
        self._bounded: bool | None = None
        self._pilots: dict[str, pilots.Pilot] = {}
        self._told = False

    @property
    def bounded(self) -> bool:
        """Whether some sites are counts."""
        return any(state.counted is not None for state in self.by_site.values())

    def add(self, site: Site, output: Tensor, number: int, *, owned: bool = False) -> None:
        """One call's output, (N, C, H, W) or (C, H, W), of the batch that begins with
        image ``number``."""
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
        """After each batch: decides whether all fits, and lets go of maps that do not."""
        self.images += images
        self.processes.check()
        self.round(last=False)
        if not self._bounded and self._held > self._memory:
            self._overflow()

    def round(self, *, last: bool) -> bool:
        """What the processes have to tell each other after a batch, also those without one.

        ``last`` says that there are no more batches here; returns whether no round is needed.
        """
        if self._bounded is None:
            self._decide()
        return self._exchange(last=last) if self._bounded and not self._told else True

    def _decide(self) -> None:
        """Whole or counted, from what the first batch weighs."""
        mine = self._held / self.images if self.images else 0.0
        met = self.processes.meet(f"memory, {self._name}", (mine, self._expected))
        weight = max(each for each, _ in met)
        lengths = [length for _, length in met if length is not None]
        if lengths:
            self._bounded = weight * max(lengths) > self._memory
        else:  # alone we can see as we go, together all must know beforehand
            self._bounded = self.processes.count > 1

    def _overflow(self) -> None:
        if self.processes.count > 1:
            raise InputError(
                "more images than the loader promised, and more than memory holds",
                got=f"{self.images} images of {self._expected} in all",
                next="Let its length be right, or leave it out, so that they are counted as they "
                "come.",
            )
        self._bounded = True
        self._exchange(last=False)

    def _exchange(self, *, last: bool) -> bool:
        """Tells the others the first batches; who has enough gets edges. Whether all are done."""
        ready = [
            name
            for name, state in self.by_site.items()
            if state.counted is None
            and name not in self.skips
            # what is told is a copy: alone it is not made before it is needed
            and (state.enough or self.processes.count > 1)
        ]
        if self.processes.count == 1:
            for name in ready:  # nor are those of all sites made at once
                self._take([self._parts([name])])
            return last
        met = self.processes.meet(f"first batches, {self._name}", (last, self._parts(ready)))
        self._take([theirs for _, theirs in met])
        self._told = bool(self.by_site) and not self._pilots
        return self._told or all(done for done, _ in met)

    def _parts(self, names: list[str]) -> dict[str, tuple[Site, pilots.Parts]]:
        return {name: (self.by_site[name].site, self.by_site[name].parts()) for name in names}

    def _take(self, told: list[dict[str, tuple[Site, pilots.Parts]]]) -> None:
        """Adds first batches to what is known of them; a site that has enough gets its edges."""
        for parts_of in told:
            for name, (site, parts) in parts_of.items():
                self._pilots.setdefault(name, pilots.Pilot(site)).take(parts)
        for name in list(self._pilots):
            if (found := self._pilots[name].edges()) is None:
                continue
            site = self._pilots.pop(name).site
            state = self.by_site.setdefault(name, State(site, self.processes))
            device = state.samples.maps[0].device if state.samples.maps else found[0].device
            self._held -= state.count(*(part.to(device) for part in found))

    def alone(self) -> None:
        """Makes do with what this process has: the others cannot be met any more."""
        self.processes = ALONE
        for state in self.by_site.values():
            state.processes = ALONE

    def finish(self) -> None:
        """After the last batch, and :func:`settle`: what the processes have is put together."""
        if self.processes.count == 1:
            return
        sites: dict[str, Site] = {}
        images = 0
        sites_here = {n: s.site for n, s in self.by_site.items()}
        mine: Any = (sites_here, self.skips, self.changing, self.images)
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
        """Let go of all activations."""
        self.by_site = {}
        self._pilots = {}

    @property
    def values(self) -> int:
        """Values of whole maps that are to be looked at."""
        return sum(maps.numel() for state in self.examined() for maps in state.samples.maps)

    def examined(self) -> list[State]:
        """States of the sites that were not skipped, in the order of the network."""
        alone = self.processes.count == 1
        return [
            state
            for name, state in self.by_site.items()
            if name not in self.skips
            and (state.counted is not None or state.samples.maps or not alone)
        ]


def settle(*several: States) -> None:
    """Rounds until all processes have had their last batch; states of one pass go together."""
    over = several[0].processes.count == 1
    while not over:
        over = True
        for states in several:  # each in every round, as where there still are batches
            over &= states.round(last=True)
