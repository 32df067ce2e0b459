"""Record of an examined convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Quad = tuple[int, int, int, int]
"""One number per side, in the order top, bottom, left, right."""

Reliability = Literal["normal", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A padded convolution call; a module called twice is two sites."""

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    channels: int
    input: tuple[int, int]
    """Height and width of the map before padding."""
    map: tuple[int, int]
    """Height and width of the output."""
    padding: Quad
    consumed: Quad
    """Padding rows and columns that the kernel windows read; strides can leave some unread."""
    mode: str
    """Padding mode: zeros, constant, reflect, replicate, circular, or two joined by ``+``."""
    padded_by: str
    """``conv`` if conv2d itself pads, ``pad`` if a pad call runs before it (as ``padding_mode``
    does), or ``pad+conv``."""
    reliability: Reliability

    def to_json(self) -> dict[str, Any]:
        return {
            f.name: list(value) if isinstance(value := getattr(self, f.name), tuple) else value
            for f in fields(self)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)
