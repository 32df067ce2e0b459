"""Observer of the probe ``uneven``: shapes of all windows, without images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pytest_pan.instrument.paths import pixel_counts
from pytest_pan.instrument.sites import module_of
from pytest_pan.instrument.windows import UnevenError, Windows, windows_at, windows_of
from pytest_pan.probes.bench import Runner
from pytest_pan.probes.foveation.observer import foveation
from pytest_pan.probes.observer import Context, Found, Observer, Pass
from pytest_pan.probes.uneven.records import Layer, UnevenFindings
from pytest_pan.records.audit import Audit
from pytest_pan.records.measures import Measured

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""

REACH = 64
"""How far from the images' size even sizes are searched."""
NEARBY = 8
"""The same where each size takes a forward pass."""
EACH_WAY = 2
"""Even sizes to find below, and above."""
REFUSED = 33
"""Sizes in a row that a model may refuse before the search ends: it may want multiples of 32."""


class UnevenObserver(Observer):
    """Finds the layers that consume padding unevenly, and the nearest sizes without any."""

    stands_alone = True

    def __init__(self, context: Context) -> None:
        self._context = context

    def passes(self, known: Audit) -> Sequence[Pass] | None:
        return () if "pans" in known.findings else None

    def findings(self, known: Audit) -> Found:
        channels, height, width = known.images["shape"]
        shape = channels, height, width
        with self._context.bench.open() as run:
            windows = windows_seen(run, shape)
            layers = tuple(_layers(run.model, windows))
            found = UnevenFindings(size=(height, width), layers=layers)
            notes = list(_unclear(windows))
            if found.uneven:
                sizes, why = nearest_even(run, shape, windows)
                found = replace(found, even_sizes=sizes)
                notes += [f"uneven: {why}"] if why else []
            if found.nearest is not None:
                sizes = found.size, found.nearest
                try:
                    now, even = (asymmetry(run.model, (channels, *size)) for size in sizes)
                    found = replace(found, asymmetry=(now, even))
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                    notes.append(f"uneven: no foveation asymmetry at the nearest even size ({why})")
        uneven = {each.name: float(each.is_uneven) for each in windows}
        dropped = {each.name: float(sum(a.dropped for a in each.axes)) for each in windows}
        return Found(
            findings=found,
            measures={
                name: Measured(measure=name, value=sum(by_layer.values()), sites=by_layer)
                for name, by_layer in (("uneven_layers", uneven), ("dropped_cells", dropped))
            },
            notes=tuple(notes),
        )


def windows_seen(run: Runner, shape: Shape) -> list[Windows]:
    """Return the windows of all convolutions and pools in a forward pass on one image of zeros."""
    found: list[Windows] = []
    kinds = (each.dtype for each in run.model.parameters() if each.is_floating_point())
    run(
        torch.zeros(1, *shape, dtype=next(kinds, torch.float32)),
        see=lambda call: found.append(windows_of(call)),
        see_pool=lambda call: found.append(windows_of(call)),
    )
    return found


def nearest_even(
    run: Runner, shape: Shape, windows: Sequence[Windows]
) -> tuple[tuple[tuple[int, int], ...], str]:
    """Return :func:`even_sizes` of a model that has these windows at a shape (C, H, W)."""
    return even_sizes(*_test(run, shape, windows), shape)


def _test(
    run: Runner, shape: Shape, windows: Sequence[Windows]
) -> tuple[Callable[[Shape], bool], int]:
    """Return a test of whether all layers are even at a size, and how far to search with it.

    Shapes without arithmetic serve if they give, at the size of the images, what a forward pass
    gave. If not, each size takes a forward pass, and fewer sizes are tried.
    """
    try:
        agree = windows_at(run.model, shape) == list(windows)
    except Exception:
        agree = False

    def by_shapes(at: Shape) -> bool:
        try:
            windows_at(run.model, at, stop=True)
        except UnevenError:
            return False
        return True

    def by_pass(at: Shape) -> bool:
        return not any(each.is_uneven for each in windows_seen(run, at))

    return (by_shapes, REACH) if agree else (by_pass, NEARBY)


def even_sizes(
    is_even: Callable[[Shape], bool], reach: int, shape: Shape
) -> tuple[tuple[tuple[int, int], ...], str]:
    """Return the nearest sizes without an uneven layer, ascending, and what limited the search.

    Up to :data:`EACH_WAY` smaller and as many larger ones; both axes move together, at most
    ``reach`` cells. ``is_even`` raises for sizes that the model refuses.
    """
    channels, height, width = shape
    found: list[tuple[int, int]] = []
    refused, last = 0, ""
    for sign in (-1, 1):
        hits = row = 0
        for step in range(1, reach + 1):
            size = height + sign * step, width + sign * step
            if min(size) < 1 or hits == EACH_WAY or row == REFUSED:
                break
            try:
                hit = is_even((channels, *size))
            except Exception as error:
                refused, row = refused + 1, row + 1
                last = f"{size[0]}x{size[1]}: {type(error).__name__}: {error}"
                continue
            row, hits = 0, hits + hit
            found += [size] if hit else []
    why = ""
    if refused:
        why = f"the model refused {refused} of the sizes that were tried; the last was {last[:200]}"
    elif reach < REACH and len(found) < 2 * EACH_WAY:
        why = (
            f"even sizes were searched up to {reach} pixels away only, since the model's shapes "
            "take a forward pass each"
        )
    return tuple(sorted(found)), why


def asymmetry(model: nn.Module, shape: Shape) -> float:
    """Return the foveation asymmetry for images of a shape (C, H, W)."""
    counts, stride, _ = pixel_counts(model, shape)
    return foveation(counts, stride, "own").asymmetry


def _unclear(windows: Sequence[Windows]) -> Iterator[str]:
    names = [each.name for each in windows if each.is_unclear]
    if names:
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"uneven: the padding in front of {', '.join(names[:3])}{rest} could not be followed; "
            "only their own counts"
        )


def _layers(model: nn.Module, windows: Sequence[Windows]) -> Iterator[Layer]:
    modules = dict(model.named_modules())
    for each in windows:
        rows, columns = each.axes
        module = modules.get(module_of(each.name))
        layer = Layer(
            name=each.name,
            is_pool=each.is_pool,
            consumed=(*rows.consumed, *columns.consumed),
            dropped=(rows.dropped, columns.dropped),
            shift=None if each.is_pool or module is None else _shift(module),
        )
        if layer.is_uneven or any(layer.dropped):
            yield layer


def _shift(module: nn.Module) -> tuple[float, float] | None:
    """Return the kernels' shift of a module, if it has a weight (P, C, H, W) of its own."""
    weight = getattr(module, "weight", None)
    return kernel_shift(weight) if isinstance(weight, Tensor) and weight.dim() == 4 else None


def kernel_shift(weight: Tensor) -> tuple[float, float]:
    """Return how far the absolute weights (P, C, H, W) lie below and right of the middle.

    In cells, averaged over the P neurons: ``sum |w| (x - mid) / sum |w|``; the definition is this
    project's. Neurons whose weights are all 0 count as 0.
    """
    sizes = weight.detach().abs().double().sum(1)
    total = sizes.sum((1, 2)).clamp(min=1e-30)
    means = []
    for dim in (1, 2):
        count = sizes.shape[dim]
        places = torch.arange(count, dtype=torch.float64, device=sizes.device) - (count - 1) / 2
        means.append(float(((sizes.sum(3 - dim) * places).sum(1) / total).mean()))
    return means[0], means[1]
