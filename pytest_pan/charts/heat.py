"""Small pictures of maps of numbers, as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

LEAST_SIDE = 112
"""Pictures are enlarged, cell by cell, until their shorter side has at least so many pixels."""

_ONE_SIDED = ((13, 22, 60), (38, 80, 150), (66, 146, 198), (150, 205, 200), (250, 240, 170))
_TWO_SIDED = ((33, 82, 148), (133, 178, 216), (246, 246, 246), (240, 170, 110), (166, 70, 10))
"""Colours at equal steps from low to high: both can be told apart by the colour-blind."""


def heat_map(
    values: Sequence[Sequence[float]],
    *,
    low: float | None = None,
    high: float | None = None,
    is_two_sided: bool = False,
) -> str:
    """Return a base64 PNG of a map (rows of equal length), from dark blue (low) to yellow (high).

    ``low`` and ``high`` default to the smallest and the largest value. ``is_two_sided``: from blue
    through white at 0 to orange, with both ends equally far from 0. Cells that are not finite are
    grey.
    """
    import numpy as np  # here, because reports are declared without it
    from PIL import Image

    cells = np.asarray(values, dtype=np.float64)
    finite = cells[np.isfinite(cells)]
    if low is None:
        low = float(finite.min()) if finite.size else 0.0
    if high is None:
        high = float(finite.max()) if finite.size else 1.0
    if is_two_sided:
        high = max(abs(low), abs(high))
        low = -high
    colours = np.array(_TWO_SIDED if is_two_sided else _ONE_SIDED, dtype=np.float64)
    share = np.clip((cells - low) / ((high - low) or 1.0), 0, 1)
    places = np.linspace(0, 1, len(colours))
    pixels = np.stack([np.interp(share, places, colours[:, c]) for c in range(3)], axis=-1)
    pixels[~np.isfinite(cells)] = 128
    factor = max(1, -(-LEAST_SIDE // min(cells.shape)))
    enlarged = pixels.round().astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
    stream = io.BytesIO()
    Image.fromarray(enlarged).quantize(64).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")
