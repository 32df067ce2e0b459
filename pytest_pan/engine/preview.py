"""Preview of what an audit would examine, from one forward pass on zeros: no images needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pytest_pan.inputs.models import load_model, model_facts
from pytest_pan.instrument.gate import borrowed, on_device
from pytest_pan.instrument.sites import why_not
from pytest_pan.instrument.tap import ConvCall, PoolCall, Tap, tapped, unseen_convolutions
from pytest_pan.instrument.windows import Windows, windows_of
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.uneven.observer import nearest_even
from pytest_pan.records.audit import Skip
from pytest_pan.records.errors import InputError, PanError
from pytest_pan.records.sites import Site

SCHEMA = "pytest-pan-sites/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Layers that an audit would examine at this image size, and those that it would not."""

    model: Mapping[str, Any]
    shape: tuple[int, int, int]
    """Channels, height and width of the image."""
    sites: tuple[Site, ...]
    skips: tuple[Skip, ...]
    windows: tuple[Windows, ...] = ()
    """Of all convolutions and pools, examined or not."""
    even_sizes: tuple[tuple[int, int], ...] = ()
    """Nearest heights and widths at which no layer is uneven; empty if none is now."""

    @property
    def neuron_count(self) -> int:
        return sum(site.channels for site in self.sites)

    @property
    def uneven(self) -> tuple[str, ...]:
        """Convolutions and pools that consume different amounts of padding on opposite sides."""
        return tuple(each.name for each in self.windows if each.is_uneven)

    @property
    def pools(self) -> tuple[Windows, ...]:
        """Uneven pools."""
        return tuple(each for each in self.windows if each.is_pool and each.is_uneven)

    @property
    def dropped(self) -> dict[str, tuple[int, int]]:
        """Rows and columns at the end of a layer's input that no window reads, if there are any."""
        every = {each.name: (each.axes[0].dropped, each.axes[1].dropped) for each in self.windows}
        return {name: dropped for name, dropped in every.items() if any(dropped)}

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "model": dict(self.model),
            "shape": list(self.shape),
            "neurons": self.neuron_count,
            "sites": [site.to_json() for site in self.sites],
            "uneven": list(self.uneven),
            "dropped": {name: list(dropped) for name, dropped in self.dropped.items()},
            "even_sizes": [list(size) for size in self.even_sizes],
            "skips": [skip.to_json() for skip in self.skips],
        }


def preview(
    model: object, shape: tuple[int, int, int], *, arguments: Mapping[str, Any] | None = None
) -> Preview:
    """Run the model once on the CPU, on an image of zeros, and leave it unchanged.

    ``model`` and ``arguments`` as of :func:`pytest_pan.audit`. Raises :class:`InputError` for a
    model that cannot be loaded, or that raises on an image of this ``shape`` (C, H, W).
    """
    cpu = torch.device("cpu")
    loaded = load_model(model, arguments)
    label = repr(model) if isinstance(model, str) else type(loaded).__name__
    sites: dict[str, Site] = {}
    skips: dict[str, str] = {}
    windows: list[Windows] = []
    even: tuple[tuple[int, int], ...] = ()

    def see_pool(call: PoolCall) -> None:
        windows.append(windows_of(call))

    def see(call: ConvCall) -> None:
        windows.append(windows_of(call))
        if reason := why_not(call.kernel, call.pad, call.map):
            skips[call.name] = reason
        else:
            sites[call.name] = call.site()

    with borrowed(on_device(loaded, cpu), seed=0) as ready:
        tap = Tap(ready, see, skips.__setitem__, see_pool=see_pool)
        try:
            with tapped(tap):
                tap.begin(1)
                ready(torch.zeros(1, *shape))
        except PanError:
            raise
        except Exception as error:
            raise InputError(
                f"{type(error).__name__}: {error}",
                where=f"model {label} on an image of zeros of {'x'.join(map(str, shape))}",
                next="Try another --size or another number of --channels.",
            ) from error
        if any(each.is_uneven for each in windows):
            even, _ = nearest_even(Runner(ready, cpu, frozenset()), shape, windows)
    skips |= dict(unseen_convolutions(loaded, {*sites, *skips}))
    return Preview(
        model=model_facts(loaded, model.partition(":")[2] if isinstance(model, str) else ""),
        shape=shape,
        sites=tuple(site for name, site in sites.items() if name not in skips),
        skips=tuple(Skip(what=name, why=why) for name, why in skips.items()),
        windows=tuple(windows),
        even_sizes=even,
    )
