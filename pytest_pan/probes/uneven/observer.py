"""Observer of the probe ``uneven``: shapes of all windows, without images or arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pytest_pan.instrument.paths import pixel_counts
from pytest_pan.instrument.sites import module_of
from pytest_pan.instrument.windows import Windows, windows_at
from pytest_pan.probes.foveation.observer import foveation, total_stride
from pytest_pan.probes.observer import Context, Found, Observer, Pass
from pytest_pan.probes.uneven.records import Layer, UnevenFindings
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measured

REACH = 64
"""How far from the images' size even sizes are searched."""


class UnevenObserver(Observer):
    """Finds the layers that consume padding unevenly, and the nearest sizes without any."""

    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context = context

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else None

    def findings(self, known: Audit) -> Found:
        channels, height, width = known.images["shape"]
        with self._context.bench.open() as run:
            windows = windows_at(run.model, (channels, height, width))
            layers = tuple(_layers(run.model, windows))
            found = UnevenFindings(size=(height, width), layers=layers)
            if found.uneven:
                sizes = tuple(even_sizes(run.model, (channels, height, width)))
                found = replace(found, even_sizes=sizes)
            if found.nearest is not None:
                both = [
                    asymmetry(run.model, (channels, *size)) for size in (found.size, found.nearest)
                ]
                found = replace(found, asymmetry=(both[0], both[1]))
        uneven = {each.name: float(each.is_uneven) for each in windows}
        dropped = {each.name: float(sum(a.dropped for a in each.axes)) for each in windows}
        return Found(
            findings=found,
            measures={
                name: Measured(measure=name, value=sum(by_layer.values()), sites=by_layer)
                for name, by_layer in (("uneven_layers", uneven), ("dropped_cells", dropped))
            },
        )


def _layers(model: nn.Module, windows: Sequence[Windows]) -> Iterator[Layer]:
    for each in windows:
        rows, columns = each.axes
        layer = Layer(
            name=each.name,
            is_pool=each.is_pool,
            consumed=(*rows.consumed, *columns.consumed),
            dropped=(rows.dropped, columns.dropped),
            shift=None if each.is_pool else _shift(model, each.name),
        )
        if layer.is_uneven or any(layer.dropped):
            yield layer


def _shift(model: nn.Module, name: str) -> tuple[float, float] | None:
    """Return the kernels' shift of a module, if it has a weight (P, C, H, W) of its own."""
    weight = getattr(dict(model.named_modules()).get(module_of(name)), "weight", None)
    return kernel_shift(weight) if isinstance(weight, Tensor) and weight.dim() == 4 else None


def kernel_shift(weight: Tensor) -> tuple[float, float]:
    """Return how far the absolute weights (P, C, H, W) lie below and right of the middle.

    In cells, averaged over the P neurons: ``sum |w| (x - mid) / sum |w|``.
    """
    sizes = weight.detach().abs().double().sum(1)
    total = sizes.sum((1, 2)).clamp(min=1e-30)
    means = []
    for dim in (1, 2):
        count = sizes.shape[dim]
        places = torch.arange(count, dtype=torch.float64, device=sizes.device) - (count - 1) / 2
        means.append(float(((sizes.sum(3 - dim) * places).sum(1) / total).mean()))
    return means[0], means[1]


def even_sizes(model: nn.Module, shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield the nearest smaller and the nearest larger size without an uneven layer.

    Both axes move together, at most :data:`REACH` cells; sizes that the model refuses are left out.
    ``shape`` (C, H, W).
    """
    channels, height, width = shape
    for sign in (-1, 1):
        for step in range(1, REACH + 1):
            size = height + sign * step, width + sign * step
            if min(size) < 1:
                break
            try:
                windows = windows_at(model, (channels, *size))
            except Exception:
                break
            if not any(each.is_uneven for each in windows):
                yield size
                break


def asymmetry(model: nn.Module, shape: tuple[int, int, int]) -> float:
    """Return the foveation asymmetry for images of a shape (C, H, W)."""
    counts, last, _ = pixel_counts(model, shape)
    return foveation(counts, total_stride((shape[1], shape[2]), last), "own").asymmetry
