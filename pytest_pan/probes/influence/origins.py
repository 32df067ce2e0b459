"""Where a PAN gets it from: its own layer's padding, or an earlier one's; and the method's floor.

The raw output that decides whether a neuron is a PAN depends on its own padding only in that one
call. So two forward passes, which a comparison of plans makes anyway, answer for all layers at
once. In the original pass each layer's border lines are computed a second time with the layer's own
padding swapped, and not passed on: a side that goes is *nascent*. In the pass with every padding
swapped the output before the swap has its own padding and none of the earlier ones': a side that
stayed before and goes here is *downstream*. The output after the swap gives the *floor*, the PANs
that the method finds where there is no padding to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes.activations.states import States, settle
from pytest_pan.probes.influence.own_padding import OwnPadding
from pytest_pan.probes.pans import subsampling
from pytest_pan.probes.pans.detection import statistics_of
from pytest_pan.records.measures import LEAST_IMAGES, Interval
from pytest_pan.records.neurons import Neuron, Side
from pytest_pan.records.sites import Site
from pytest_pan.stats import labels
from pytest_pan.stats.ks import KS


@dataclass(frozen=True, slots=True)
class Floor:
    """What the method finds where there is no padding to see."""

    pans: int
    neurons: int
    interval: Interval | None
    """Of the share; None where there were no subsamples."""


class Origins:
    """Watches the original pass and the pass with every padding swapped."""

    def __init__(
        self,
        sites: Sequence[Site],
        neurons: Iterable[Neuron],
        theta: float,
        states: Callable[[int, str], States],
        *,
        device: torch.device,
        mode: str,
        seed: int = 0,
    ) -> None:
        """``states(part, name)`` makes empty states that may take the part-th part of the memory;
        ``mode`` is the padding swapped in, ``seed`` deals images out to subsamples.
        """
        self._seed, self._mode = seed, mode
        self._sites = {site.name: site for site in sites}
        self._theta = theta
        self._generator = torch.Generator().manual_seed(0)
        self._channels: dict[str, Tensor] = {}
        for neuron in neurons:
            known = self._channels.get(neuron.site, torch.zeros(0, dtype=torch.long))
            self._channels[neuron.site] = torch.cat([known, torch.tensor([neuron.channel])])
        self._channels = {s: c.to(device) for s, c in self._channels.items()}
        self._own, self._earlier = states(4, "own"), states(4, "earlier")
        self._floor = states(2, "floor")
        self._part: list[tuple[States, str, Tensor]] = []
        self._batch: list[tuple[States, str, Tensor]] = []
        self._has_own = False
        self.answered: frozenset[str] = frozenset()
        """Sites whose PANs' origin is known, after :meth:`named`."""

    def take_own(self, activations: States, own: OwnPadding) -> None:
        """Take what the original pass gave, with the lines that the site's own padding decides
        as they are when that is swapped.
        """
        for name, channels in self._channels.items():
            maps = own.maps(name, activations.by_site[name].samples.maps, channels)
            if maps is not None:
                site = replace(self._sites[name], channels=len(channels))
                self._own.add(site, maps, 0, owned=True)
        self._own.end_batch(own.images)
        settle(self._own)
        self._has_own = True

    def see_original(self, call: ConvCall) -> None:
        """A convolution of the original pass, where that runs again for want of memory."""
        channels = self._channels.get(call.name)
        if channels is None or self._has_own:
            return
        try:
            aside = replace(call, output=call.output.clone())
            swapped = repad(aside, channels, self._mode, self._generator)
        except NotSwappableError:
            return
        self._keep(self._own, call.name, _batch(swapped)[:, channels])

    def see_every(self, call: ConvCall, *, is_swapped: bool) -> None:
        """A convolution of the pass that swaps every padding, before and after its own swap."""
        channels = self._channels.get(call.name)
        if is_swapped:
            self._keep(self._floor, call.name, _batch(call.output).clone())
        elif channels is not None:
            self._keep(self._earlier, call.name, _batch(call.output)[:, channels])

    def _keep(self, where: States, name: str, output: Tensor) -> None:
        if name in self._sites:
            self._part.append((where, name, output.detach()))

    def begin(self, first: int) -> None:
        """Start of the passes over images from number ``first`` on, whose draws of noise follow."""
        self._generator.manual_seed(first)
        self._part = []

    def end(self) -> None:
        """All passes over some images are through."""
        self._batch += self._part
        self._part = []

    def end_batch(self, first: int, images: int) -> None:
        """Add what the passes over the batch that begins with image ``first`` gave."""
        for where, name, output in self._batch:
            site = replace(self._sites[name], channels=output.shape[1])
            where.add(site, output, first, owned=True)
        self._batch = []
        for states in self._open:
            states.end_batch(images)

    @property
    def _open(self) -> tuple[States, ...]:
        """The states that the passes over the images fill."""
        rest = (self._earlier, self._floor)
        return rest if self._has_own else (self._own, *rest)

    def finish(self) -> None:
        """After the last batch: the processes put together what they have."""
        settle(*self._open)
        for states in (self._own, self._earlier, self._floor):
            states.finish()

    def named(self, neurons: Iterable[Neuron]) -> tuple[Neuron, ...]:
        """The neurons with their nascent and downstream sides.

        A side that consumes no padding is never nascent; a site that cannot be swapped, or is not
        finite then, leaves both open.
        """
        own, earlier = self._all_sides(self._own), self._all_sides(self._earlier)
        self.answered = frozenset(own) & frozenset(earlier)
        places: dict[str, int] = {}
        found = []
        for neuron in neurons:
            at = places[neuron.site] = places.get(neuron.site, -1) + 1
            if neuron.site not in self.answered:
                found.append(neuron)
                continue
            stays = own[neuron.site][at] & neuron.type
            nascent = neuron.type & ~stays & _consuming(self._sites[neuron.site])
            downstream = stays & ~earlier[neuron.site][at]
            found.append(replace(neuron, nascent=nascent, downstream=downstream))
        return tuple(found)

    def floor(self) -> Floor:
        """PANs where every padding is swapped, over the sites that could be."""
        found = self._statistics(self._floor)
        images = {site: self._floor.by_site[site].images for site in found}
        near = {site: subsampling.near(found[site], self._theta, images[site]) for site in found}
        again = subsampling.examine(self._floor, near, theta=self._theta, seed=self._seed)
        return Floor(
            pans=sum(int(each.pans.sum()) for each in near.values()),
            neurons=sum(ks.plus.shape[1] for ks in found.values()),
            interval=again.intervals.get("pan_fraction"),
        )

    def intervals(self, neurons: Sequence[Neuron]) -> dict[str, Interval]:
        """Of the shares of these PANs that are nascent and downstream, as :meth:`named` says."""
        if not neurons or subsampling.why_not(self._own) or subsampling.why_not(self._earlier):
            return {}
        whole, again, plan = [], [], subsampling.plan_of(self._own.images)
        for site in dict.fromkeys(neuron.site for neuron in neurons):
            kept = [state.by_site[site] for state in (self._own, self._earlier)]
            if min(state.images for state in kept) < LEAST_IMAGES:
                return {}
            there = torch.arange(len(self._channels[site]), device=self._channels[site].device)
            own, earlier = (
                subsampling.sides(state, there, plan, self._theta, self._seed).cpu()
                for state in kept
            )
            here = [neuron for neuron in neurons if neuron.site == site]
            of = torch.tensor([[side in neuron.type for neuron in here] for side in Side])
            consumed = torch.tensor([side in _consuming(self._sites[site]) for side in Side])
            nascent = (of & ~own & consumed[:, None]).any(1)
            downstream = (of & own & ~earlier).any(1)
            again.append(torch.stack([nascent, downstream]))
            whole += [(bool(neuron.nascent), bool(neuron.downstream)) for neuron in here]
        shares = torch.cat(again, 2).double().mean(2)
        full = torch.tensor(whole).double().mean(0)
        return {
            name: subsampling.interval_of(float(full[at]), shares[at], plan)
            for at, name in enumerate(("nascent_fraction", "downstream_fraction"))
        }

    def _all_sides(self, states: States) -> dict[str, list[Side]]:
        """By site, the sides of each channel; without sites whose values are not all finite."""
        return {
            site: [Side(bits) for bits in labels.side_bits(labels.pans(ks, self._theta)).tolist()]
            for site, ks in self._statistics(states).items()
        }

    def _statistics(self, states: States) -> dict[str, KS]:
        """By site, where all values are finite."""
        values = states.values
        found = {
            state.site.name: statistics_of(state, self._theta, values=values)
            for state in states.examined()
        }
        return {site: ks for site, ks in found.items() if ks is not None}


def _consuming(site: Site) -> Side:
    sides = Side(0)
    for side, amount in zip(Side, site.consumed, strict=True):
        sides |= side if amount else Side(0)
    return sides


def _batch(output: Tensor) -> Tensor:
    return output if output.dim() == 4 else output[None]
