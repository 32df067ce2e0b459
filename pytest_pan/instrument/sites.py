"""What a padded convolution is: its padding on four sides, and how much of it is consumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_pan.records.sites import Quad, Reliability, Site

SMALL_MAP = 7
"""Maps up to this side are examined but marked: the authors say the method weakens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """A spatial padding: amounts on the sides T, B, L, R (negative crops), its mode and value."""

    amounts: Quad
    mode: str
    value: float = 0.0

    @property
    def visible(self) -> bool:
        """Whether it adds at least one row or column."""
        return any(amount > 0 for amount in self.amounts)

    def then(self, other: Pad) -> Pad:
        """Both pads as one, ``other`` outside; modes that no single pad equals are joined by ``+``.

        What ``other`` adds on a side that this one cropped is padding of the cropped map.
        """
        sides = zip(self.amounts, other.amounts, strict=True)
        amounts = _quad([outer if inner < 0 < outer else inner + outer for inner, outer in sides])
        if not (self.visible and other.visible):
            return replace(self if self.visible else other, amounts=amounts)
        if self._extended_by(other):
            return replace(self, amounts=amounts)
        return Pad(amounts=amounts, mode=f"{self.mode}+{other.mode}")

    def _extended_by(self, other: Pad) -> bool:
        """Whether one pad with both amounts does the same; a reflection of a reflection does not,
        unless one pads rows and the other columns.
        """
        if (self.mode, self.value) != (other.mode, other.value):
            return False
        axes = [(any(pad.amounts[:2]), any(pad.amounts[2:])) for pad in (self, other)]
        apart = not any(a and b for a, b in zip(*axes, strict=True))
        return apart or self.mode in ("zeros", "constant", "replicate")


NO_PAD = Pad(amounts=(0, 0, 0, 0), mode="zeros")


def explicit_pad(amounts: Sequence[int], mode: str, value: float | None) -> Pad | None:
    """A ``F.pad`` call's arguments (last dimension first) as a Pad; None if it pads channels."""
    sides = [int(amount) for amount in amounts]
    if any(sides[4:]):
        return None
    left, right, top, bottom = (*sides, 0, 0, 0, 0)[:4]
    fill = float(value or 0.0)
    if mode == "constant":
        mode = "constant" if fill else "zeros"
    return Pad(amounts=(top, bottom, left, right), mode=mode, value=fill)


def own_pad(
    padding: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> Pad:
    """The ``padding=`` of a convolution as a Pad; ``"same"`` puts the odd cell at the end."""
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
    """``3`` or ``(3,)`` as ``(3, 3)``, ``(1, 7)`` as it is; numpy's integers become plain ones."""
    if not isinstance(value, Sequence):
        return int(value), int(value)
    return int(value[0]), int(value[-1])


def consumed(pad: Quad, size: Sequence[int], span: Sequence[int], stride: Sequence[int]) -> Quad:
    """Padding that windows reach on each side (Mind the Pad; docs/method.md).

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
    """Whether opposite sides of the site consume different amounts of padding."""
    top, bottom, left, right = site.consumed
    return top != bottom or left != right


def why_not(kernel: Sequence[int], pad: Pad, map: Sequence[int]) -> str:
    """Why a convolution is not examined; empty if it is. ``map``: (H, W) of its output."""
    if tuple(kernel) == (1, 1):
        return "1x1 kernel"
    if not pad.visible:
        return "no padding"
    height, width = map
    if (height - 2) * (width - 2) < max(height, width) or min(height, width) < 3:
        return f"map {height}x{width} too small: its centre has fewer values than a border"
    return ""


def reliability(map: Sequence[int]) -> Reliability:
    """``low`` for maps up to 7x7, where the centre has few edges of its own to compare with."""
    return "low" if min(map) <= SMALL_MAP else "normal"


def _quad(values: Sequence[int]) -> Quad:
    top, bottom, left, right = values
    return top, bottom, left, right
