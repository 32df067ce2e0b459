"""Exact statistics as in :mod:`pytest_pan.stats.ks`, without sorting, on the CPU with numba.

A channel's values are counted in slots that divide the range of its border values equally. At slot
boundaries both distribution functions are known, and so are the gaps of all statistics. Inside a
slot the functions lie between their values at its ends, which bounds the gaps. Only slots whose
bound exceeds the largest gap at a boundary can contain the supremum. There are few of them, and
their values are examined one by one. Channels whose values the slots do not separate, because the
range overflows or an outlier leaves most values in one slot, are sorted instead.

The slot is a non-decreasing function of the value, rounding included, and border and centre values
are treated alike. So all counts are exact, and the statistics equal those of the sort bit for bit.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_pan.stats.ks import KS, TooFewCentreValuesError, sort_rows, sorted_statistics
from pytest_pan.stats.threads import share_out

_WORTH_A_THREAD = 1 << 16
_BLOCK_BYTES = 1 << 20  # so that the second pass over a block of channels finds it in the cache

_NONE = -(1 << 62)
"""Less than every gap, so that every channel is examined."""

WORTHWHILE = 1 << 26
"""Number of values in an audit above which loading numba and the kernels (0.7 s) pays off."""


def installed() -> bool:
    """Return whether numba is installed, without importing it."""
    return importlib.util.find_spec("numba") is not None


def started() -> bool:
    """Return whether the kernels are loaded in this process, so that any call pays off."""
    return "pytest_pan.stats.kernels" in sys.modules


def worthwhile(values: int, like: Tensor) -> bool:
    """Return whether counting beats sorting for that many values of the type of ``like``."""
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    return known and (started() or (values >= WORTHWHILE and starts()))


def starts() -> bool:
    """Return whether the kernels can be loaded: numba may reject the installed numpy."""
    if not installed():
        return False
    try:
        from pytest_pan.stats import kernels  # noqa: F401
    except ImportError:
        return False
    return True


def binned_statistics(
    batches: Sequence[Tensor], *, theta: float | None = None, near: float | None = None
) -> tuple[KS, Tensor]:
    """Compute KS, KS+ and KS- of each channel's outermost rows and columns against the centre.

    ``batches`` are maps (N, C, H, W), float32 or float64, on the CPU, at least 3 x 3. Sides are
    top, bottom, left and right, corners shared. Returns statistics (4, C), and which channels are
    entirely finite, (C,) bool; the statistics of the others are meaningless.

    With ``theta``, statistics are exact for channels that are PANs at ``theta``, or at ``near``, a
    lower threshold. For other channels they may be too small, but lie on the correct side of theta
    wherever a label depends on it: the counts alone decide most labels.

    Raises :class:`TooFewCentreValuesError` if the centre has fewer values than a border.
    """
    from pytest_pan.stats import kernels

    kept = [batch.detach().to(batches[0].dtype).contiguous() for batch in batches]
    images = np.array([len(batch) for batch in kept], dtype=np.int64)
    _, channels, height, width = kept[0].shape
    lengths = images.sum() * np.array([width, width, height, height], dtype=np.int64)
    m = int(images.sum()) * (height - 2) * (width - 2)
    if m < lengths.max():
        raise TooFewCentreValuesError(f"{m} centre values for {lengths.max()} border values")
    gaps = np.zeros((channels, 4, 3), dtype=np.int64)
    finite, unsettled = np.zeros(channels, dtype=bool), np.zeros(channels, dtype=bool)
    # a gap up to these is below theta for certain, whatever the product was rounded to
    if theta is None:
        least = np.full((4, 3), _NONE)
    else:
        low = max(0.0, theta if near is None else min(near, theta))
        parts = [(low * int(n) * m, low * int(n), theta * int(n) * m) for n in lengths]
        least = np.array([[int(gap) - 1 for gap in side] for side in parts])
    kind = kept[0].numpy().dtype

    block = max(1, _BLOCK_BYTES * channels // sum(batch.nbytes for batch in kept))
    slots = min(max(1 << (m // 32).bit_length(), 128), 8192)

    def examine(share: tuple[int, int]) -> None:
        kernels.examine(
            (np.array([batch.data_ptr() for batch in kept], dtype=np.int64), images),
            (np.empty(0, kind), np.empty(0, f"i{kind.itemsize}")),
            (channels, height, width),
            share,
            (min(block, channels), slots),
            lengths,
            m,
            least,
            gaps,
            finite,
            unsettled,
        )

    if channels * m < _WORTH_A_THREAD:
        examine((0, channels))
    else:
        share_out(examine, channels)
    ks = _divided(torch.from_numpy(gaps), torch.from_numpy(lengths), m)
    left = torch.from_numpy(finite & unsettled).nonzero().flatten()
    if len(left):
        for ours, theirs in zip(ks, _by_sorting(kept, left), strict=True):
            ours[:, left] = theirs
    return ks, torch.from_numpy(finite)


def _divided(gaps: Tensor, lengths: Tensor, m: int) -> KS:
    two_sided, plus, minus = gaps.permute(2, 1, 0).double()
    n = lengths[:, None]
    return KS(two_sided / (n * m), plus / n, minus / n)


def _by_sorting(batches: Sequence[Tensor], channels: Tensor) -> KS:
    some = [batch[:, channels].transpose(0, 1) for batch in batches]
    lines = [[one[:, :, 0], one[:, :, -1], one[:, :, :, 0], one[:, :, :, -1]] for one in some]
    borders = [torch.cat(line, 1).flatten(1) for line in zip(*lines, strict=True)]
    centre = torch.cat([one[:, :, 1:-1, 1:-1] for one in some], 1).flatten(1)
    return sorted_statistics([sort_rows(b) for b in borders], sort_rows(centre, in_place=True))
