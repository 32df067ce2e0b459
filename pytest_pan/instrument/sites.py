"""Geometry of padded convolutions: pads, consumed padding, and reasons not to examine a layer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_pan.records.sites import Quad, Reliability, Site

SMALL_MAP = 7
"""Side up to which maps are of low reliability (PAN section 3)."""

UNCLEAR = "padded, cannot tell how much"
UNFOLDED = "im2col (unfold) with padding: its product with the weights is not seen as a convolution"
OTHER_BATCH = "its batch is not that of the images"
"""Followed by ``, in N groups`` where the channels may be those of several images."""
OTHER_ALONE = "an image alone gives other maps than in a batch: use a batch size of 1"
ONE_MAP = "it gives one map for several images: use a batch size of 1"
FUNC_TRANSFORM = "inside a transform of torch.func, which owns its values"
COMPLEX = "complex values have no order"
OTHER_THREAD = "runs in another thread"
HIDDEN = "out of sight of torch function modes"
SCRIPTED = "TorchScript: its convolutions cannot be seen"
QUANTISED = "quantised convolution: it pads inside its kernel"
DEFORMABLE = "deformable convolution: it pads inside its kernel"
WITHOUT_PADDING = " (no padding)"
"""Ending of a reason for a layer that cannot be seen, but is known to pad nothing."""

_INCOMPLETE = (
    UNCLEAR,
    UNFOLDED,
    f"{OTHER_BATCH}, in",
    OTHER_ALONE,
    ONE_MAP,
    FUNC_TRANSFORM,
    COMPLEX,
    OTHER_THREAD,
    HIDDEN,
    SCRIPTED,
    QUANTISED,
    DEFORMABLE,
)

_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """Padding of a tensor: amounts at both ends of each dimension, mode and value."""

    amounts: tuple[int, ...]
    """First and last end of each dimension; T, B, L, R for a map. Negative amounts crop."""
    mode: str
    value: float = 0.0
    is_unclear: bool = False
    """Whether the tensor may have more padding than the amounts say."""

    @property
    def quad(self) -> Quad:
        """Amounts of the last two dimensions: T, B, L, R."""
        return _quad(self.amounts[-4:])

    @property
    def visible(self) -> bool:
        """Whether it adds at least one row or column."""
        return any(amount > 0 for amount in self.amounts)

    def then(self, other: Pad) -> Pad:
        """Return both pads as one, ``other`` outside.

        Modes that no single pad equals are joined by ``+``. What ``other`` adds on a side that this
        pad cropped is padding of the cropped map.
        """
        sides = zip(self.amounts, other.amounts, strict=True)
        amounts = tuple(outer if inner < 0 < outer else inner + outer for inner, outer in sides)
        unclear = self.is_unclear or other.is_unclear
        if not (self.visible and other.visible):
            return replace(self if self.visible else other, amounts=amounts, is_unclear=unclear)
        if self._extended_by(other):
            return replace(self, amounts=amounts, is_unclear=unclear)
        return Pad(amounts=amounts, mode=f"{self.mode}+{other.mode}", is_unclear=unclear)

    def _extended_by(self, other: Pad) -> bool:
        """Return whether one pad with both amounts equals the two pads.

        A reflection of a reflection is no single reflection, unless one pads rows and the other
        columns.
        """
        if (self.mode, self.value) != (other.mode, other.value):
            return False
        ends = [
            [any(pad.amounts[at : at + 2]) for at in range(0, len(pad.amounts), 2)]
            for pad in (self, other)
        ]
        apart = not any(a and b for a, b in zip(*ends, strict=True))
        return apart or self.mode in ("zeros", "constant", "replicate")


NO_PAD = Pad(amounts=(0, 0, 0, 0), mode="zeros")


def explicit_pad(amounts: Sequence[int], mode: str, value: float | None, dims: int = 2) -> Pad:
    """Return the arguments of an ``F.pad`` call (last dimension first) on so many dimensions."""
    sides = [int(amount) for amount in amounts]
    pairs = [(*sides[at : at + 2], 0)[:2] for at in range(0, len(sides), 2)]
    pairs += [(0, 0)] * (dims - len(pairs))
    fill = float(value or 0.0)
    if mode == "constant":
        mode = "constant" if fill else "zeros"
    flat = tuple(amount for pair in reversed(pairs) for amount in pair)
    return Pad(amounts=flat, mode=mode, value=fill)


def own_pad(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> Pad:
    """Return a convolution's ``padding=`` as a Pad; ``"same"`` puts the odd cell at the end."""
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        rows, columns = totals
        amounts = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
        return Pad(amounts=amounts, mode="zeros")
    if isinstance(padding, str):
        return NO_PAD
    vertical, horizontal = pair(padding)
    return Pad(amounts=(vertical, vertical, horizontal, horizontal), mode="zeros")


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return one or two numbers as two plain integers: ``3`` and ``(3,)`` give ``(3, 3)``."""
    if not isinstance(value, Sequence):
        return int(value), int(value)
    return int(value[0]), int(value[-1])


def consumed(
    pad: Sequence[int], size: Sequence[int], span: Sequence[int], stride: Sequence[int]
) -> Quad:
    """Return the padding that windows reach on each side (Mind the Pad; docs/method.md).

    How deep the outermost line lies that a kernel cell reads: a dilated kernel, or a stride beyond
    the kernel, may leave out lines in between. ``size`` (H, W) before padding, ``span`` the dilated
    kernel ``d (k - 1) + 1``. The first window begins at the first padded cell; the last one leaves
    out the remainder ``(n + p_first + p_last - span) mod stride``, which comes off the last side.
    """
    result: list[int] = []
    for axis in (0, 1):
        first, last = max(pad[2 * axis], 0), max(pad[2 * axis + 1], 0)
        total = size[axis] + pad[2 * axis] + pad[2 * axis + 1]
        rest = (total - span[axis]) % stride[axis]
        result += [first, max(last - rest, 0)]
    return _quad(result)


def is_uneven(site: Site) -> bool:
    """Return whether opposite sides of the site consume different amounts of padding."""
    top, bottom, left, right = site.consumed
    return top != bottom or left != right


def why_not(kernel: Sequence[int], pad: Pad, map: Sequence[int]) -> str:
    """Return why a convolution is not examined; empty if it is. ``map``: (H, W) of its output."""
    if tuple(kernel) == (1, 1):
        return "1x1 kernel"
    if not pad.visible:
        return UNCLEAR if pad.is_unclear else "no padding"
    height, width = map
    if (height - 2) * (width - 2) < max(height, width) or min(height, width) < 3:
        return f"map {height}x{width} too small: its centre has fewer values than a border"
    return ""


def reliability(map: Sequence[int]) -> Reliability:
    """Return ``low`` for maps up to 7x7, where the centre has few edges to compare with."""
    return "low" if min(map) <= SMALL_MAP else "normal"


def leaves_figures_incomplete(why: str) -> bool:
    """Return whether a layer skipped for this reason may have padding that nobody looked at."""
    return why.startswith(_INCOMPLETE) and not why.endswith(WITHOUT_PADDING)


def site_name(path: str) -> str:
    """Return a module's name as sites have it: the middle of a very long one is cut out."""
    if len(path) <= _LONGEST_NAME:
        return path
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{path[:90]}...{digest}...{path[-90:]}"


def module_of(site: str) -> str:
    """Return the name of the module that a site's call came from: without ``#2``."""
    return re.sub(r"#\d+$", "", site)


def _quad(values: Sequence[int]) -> Quad:
    top, bottom, left, right = values
    return top, bottom, left, right
