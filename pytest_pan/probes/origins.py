"""Where a PAN gets it from: its own layer's padding, or an earlier one's; and the method's floor.

The raw output that decides whether a neuron is a PAN depends on its own padding only in that one
call. So two forward passes, which a comparison of plans makes anyway, answer for all layers at
once. In the original pass each PAN's output is computed a second time with its own padding
swapped, and not passed on: a side that goes is *nascent*. In the pass with every padding swapped
the output before the swap has its own padding and none of the earlier ones': a side that stayed
before and goes here is *downstream*. The output after the swap gives the *floor*, the PANs that
the method finds where there is no padding to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pytest_pan.convergence import LEAST_IMAGES, Interval
from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.tap import ConvCall
from pytest_pan.probes import stability
from pytest_pan.probes.pans import statistics_of
from pytest_pan.probes.states import States, settle
from pytest_pan.probes.swaps import Swap, run
from pytest_pan.records import Neuron, Side, Site
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
        every: Swap,
        theta: float,
        states: Callable[[int, str], States],
        *,
        seed: int = 0,
    ) -> None:
        """``states(part, of)`` makes empty states that may take the part-th part of the memory;
        ``seed`` deals their images out to subsamples.
        """
        self._seed = seed
        self._sites = {site.name: site for site in sites}
        self._every, self._theta = every, theta
        self._generator = torch.Generator().manual_seed(0)
        self._channels: dict[str, Tensor] = {}
        for neuron in neurons:
            have = self._channels.get(neuron.site, torch.zeros(0, dtype=torch.long))
            self._channels[neuron.site] = torch.cat([have, torch.tensor([neuron.channel])])
        self._channels = {s: c.to(every.device) for s, c in self._channels.items()}
        self._own, self._earlier = states(4, "own"), states(4, "earlier")
        self._floor = states(2, "floor")
        self._now: list[tuple[States, str, Tensor]] = []
        self._pending: list[tuple[States, str, Tensor]] = []
        self.answered: frozenset[str] = frozenset()
        """Sites whose PANs' origin was told, after :meth:`named`."""

    def original(self, model: nn.Module, images: Tensor) -> object:
        """The plain forward pass, looked at."""

        def see(call: ConvCall) -> None:
            channels = self._channels.get(call.name)
            if channels is None:
                return
            aside = replace(call, output=call.output.clone())
            try:
                swapped = repad(aside, channels, self._every.plan.mode, self._generator)
            except NotSwappableError:
                return
            self._keep(self._own, call.name, _batch(swapped)[:, channels])

        return run(model, images, see)

    def swapped(self, model: nn.Module, images: Tensor) -> object:
        """The forward pass with every padding swapped, looked at before and after each swap."""

        def see(call: ConvCall) -> Tensor | None:
            if call.name not in self._sites:
                return None
            channels = self._channels.get(call.name)
            if channels is not None:
                self._keep(self._earlier, call.name, _batch(call.output)[:, channels])
            result = self._every.see(call)
            if result is not None:
                self._keep(self._floor, call.name, _batch(result).clone())
            return result

        return run(model, images, see)

    def _keep(self, where: States, name: str, output: Tensor) -> None:
        self._now.append((where, name, output.detach()))

    def begin_part(self, first: int) -> None:
        """Before the passes over images from number ``first`` on: its draws are theirs."""
        self._generator.manual_seed(first)
        self._now = []

    def end_part(self) -> None:
        """After all passes over some images went through."""
        self._pending += self._now
        self._now = []

    def end_batch(self, number: int, images: int) -> None:
        """Takes what the passes over the batch that begins with image ``number`` showed."""
        for where, name, output in self._pending:
            site = replace(self._sites[name], channels=output.shape[1])
            where.add(site, output, number, owned=True)
        self._pending = []
        for states in (self._own, self._earlier, self._floor):
            states.end_batch(images)

    def settle(self) -> None:
        """After this process's last batch: waits for the others' rounds."""
        settle(self._own, self._earlier, self._floor)

    def finish(self) -> None:
        """After :meth:`settle`: puts together what several processes have."""
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
        near = {site: stability.near(found[site], self._theta, images[site]) for site in found}
        again = stability.examine(self._floor, near, theta=self._theta, seed=self._seed)
        return Floor(
            pans=sum(int(each.pans.sum()) for each in near.values()),
            neurons=sum(ks.plus.shape[1] for ks in found.values()),
            interval=again.intervals.get("pan_fraction"),
        )

    def intervals(self, neurons: Sequence[Neuron]) -> dict[str, Interval]:
        """Of the shares of these PANs that are nascent and downstream, as :meth:`named` says."""
        if not neurons or stability.why_not(self._own) or stability.why_not(self._earlier):
            return {}
        whole, again, plan = [], [], stability.plan_of(self._own.images)
        for site in dict.fromkeys(neuron.site for neuron in neurons):
            kept = [state.by_site[site] for state in (self._own, self._earlier)]
            if min(state.images for state in kept) < LEAST_IMAGES:
                return {}
            there = torch.arange(len(self._channels[site]), device=self._every.device)
            own, earlier = (
                stability.sides(state, there, plan, self._theta, self._seed).cpu() for state in kept
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
            name: stability.interval_of(float(full[at]), shares[at], plan)
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
