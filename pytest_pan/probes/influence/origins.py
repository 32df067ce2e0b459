"""Origins of PAN sides, in a layer's own padding or in earlier layers, and the floor of the method.

A neuron's raw output depends on its layer's own padding only through that one call. So two forward
passes, which the comparison of plans runs anyway, answer the question for all layers at once. In
the original pass, each layer's border lines are computed again with only its own padding swapped:
a PAN side that disappears is *nascent*. In the pass with every padding swapped, the output before
the layer's own swap still has its own padding but no earlier padding: a side that remained in the
first test and disappears here is *downstream*. The output after the swap gives the *floor*, the
PANs that the method reports although there is no padding.
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
from pytest_pan.probes.observer import Units
from pytest_pan.probes.pans import subsampling
from pytest_pan.probes.pans.detection import finite_statistics
from pytest_pan.records.measures import Interval
from pytest_pan.records.neurons import Neuron, Side
from pytest_pan.records.sites import Site
from pytest_pan.stats import labels
from pytest_pan.stats.ks import KS


@dataclass(frozen=True, slots=True)
class Floor:
    """PANs that the method reports when every padding is swapped."""

    pans: int
    neurons: int
    interval: Interval | None
    """Interval of the share of PANs; None without subsamples."""


class Origins:
    """Collects activations of the original pass and of the pass with every padding swapped."""

    def __init__(
        self,
        sites: Sequence[Site],
        neurons: Iterable[Neuron],
        theta: float,
        states: Callable[[int, str], States],
        *,
        device: torch.device,
        mode: str,
        units: Units,
        seed: int = 0,
    ) -> None:
        """Prepare the states.

        ``states(part, name)`` creates empty states limited to 1/part of the memory. ``mode`` is
        the padding swapped in, ``seed`` assigns ``units`` of images to subsamples.
        """
        self._seed, self._mode, self._units = seed, mode, units
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
        self.resolved: frozenset[str] = frozenset()
        """Sites whose PANs have known origins; set by :meth:`with_origins`."""

    def take_own(self, activations: States, own: OwnPadding) -> None:
        """Add the original activations with the border lines replaced by their swapped values."""
        for name, channels in self._channels.items():
            maps = own.maps(name, activations.by_site[name].samples.maps, channels)
            if maps is not None:
                site = replace(self._sites[name], channels=len(channels))
                self._own.add(site, maps, 0, owned=True)
        self._own.end_batch(own.images)
        settle(self._own)
        self._has_own = True

    def see_original(self, call: ConvCall) -> None:
        """Observe a convolution of the original pass, if that pass runs again."""
        channels = self._channels.get(call.name)
        if channels is None or self._has_own:
            return
        try:
            copied = replace(call, output=call.output.clone())
            repad(copied, channels, self._mode, self._generator)
        except NotSwappableError:
            return
        self._keep(self._own, call.name, copied.maps[:, channels])

    def see_every(self, call: ConvCall, *, is_swapped: bool) -> None:
        """Observe a convolution of the pass that swaps every padding, before or after its swap."""
        channels = self._channels.get(call.name)
        if is_swapped:
            self._keep(self._floor, call.name, call.maps.clone())
        elif channels is not None:
            self._keep(self._earlier, call.name, call.maps[:, channels])

    def _keep(self, states: States, name: str, output: Tensor) -> None:
        if name in self._sites:
            self._part.append((states, name, output.detach()))

    def begin(self, first: int) -> None:
        """Start the passes over the images from index ``first`` on, which seeds the noise."""
        self._generator.manual_seed(first)
        self._part = []

    def end(self) -> None:
        """Finish the passes over some images."""
        self._batch += self._part
        self._part = []

    def end_batch(self, first: int, images: int) -> None:
        """Add the outputs of the batch that starts with image ``first``."""
        for states, name, output in self._batch:
            site = replace(self._sites[name], channels=output.shape[1])
            states.add(site, output, first, owned=True)
        self._batch = []
        for states in self._open:
            states.end_batch(images)

    @property
    def _open(self) -> tuple[States, ...]:
        """States that the current passes fill."""
        rest = (self._earlier, self._floor)
        return rest if self._has_own else (self._own, *rest)

    def finish(self) -> None:
        """Merge the states of all processes after the last batch."""
        settle(*self._open)
        for states in (self._own, self._earlier, self._floor):
            states.finish()

    def with_origins(self, neurons: Iterable[Neuron]) -> tuple[Neuron, ...]:
        """Return the neurons with their nascent and downstream sides.

        A side that consumes no padding is never nascent. Neurons of a site that cannot be swapped,
        or has non-finite values after the swap, are returned unchanged.
        """
        own, earlier = self._all_sides(self._own), self._all_sides(self._earlier)
        self.resolved = frozenset(own) & frozenset(earlier)
        positions: dict[str, int] = {}
        found = []
        for neuron in neurons:
            at = positions[neuron.site] = positions.get(neuron.site, -1) + 1
            if neuron.site not in self.resolved:
                found.append(neuron)
                continue
            stays = own[neuron.site][at] & neuron.type
            nascent = neuron.type & ~stays & _consuming(self._sites[neuron.site])
            downstream = stays & ~earlier[neuron.site][at]
            found.append(replace(neuron, nascent=nascent, downstream=downstream))
        return tuple(found)

    def floor(self) -> Floor:
        """Return the PANs that remain when every padding is swapped, over the swappable sites."""
        found = self._statistics(self._floor)
        images = {site: self._floor.by_site[site].images for site in found}
        candidates = {
            site: subsampling.candidates(found[site], self._theta, images[site]) for site in found
        }
        units = self._units.of(0, self._floor.images)
        stability = subsampling.examine(
            self._floor, candidates, units, theta=self._theta, seed=self._seed
        )
        return Floor(
            pans=sum(int(each.pans.sum()) for each in candidates.values()),
            neurons=sum(ks.plus.shape[1] for ks in found.values()),
            interval=stability.intervals.get("pan_fraction"),
        )

    def _all_sides(self, states: States) -> dict[str, list[Side]]:
        """Return the PAN sides of each channel by site, without sites with non-finite values."""
        return {
            site: [Side(bits) for bits in labels.side_bits(labels.pans(ks, self._theta)).tolist()]
            for site, ks in self._statistics(states).items()
        }

    def _statistics(self, states: States) -> dict[str, KS]:
        """Return the statistics by site; sites with non-finite values are omitted."""
        values = states.values
        found = {
            state.site.name: finite_statistics(state, self._theta, values=values)
            for state in states.examined()
        }
        return {site: ks for site, ks in found.items() if ks is not None}


def _consuming(site: Site) -> Side:
    """Return the sides on which the site consumes padding."""
    sides = Side(0)
    for side, amount in zip(Side, site.consumed, strict=True):
        sides |= side if amount else Side(0)
    return sides
