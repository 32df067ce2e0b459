"""The record of an examined convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Quad = tuple[int, int, int, int]
"""A number on each of the four sides, in the order top, bottom, left, right."""

Reliability = Literal["normal", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One padded convolution as it ran: a module called twice is two sites."""

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
    """How many padding rows and columns windows reach into; strides can leave some unread."""
    mode: str
    """zeros, constant, reflect, replicate, circular, or two of them joined by ``+``."""
    padded_by: str
    """``conv`` where conv2d itself pads, ``pad`` where a pad runs before it (as ``padding_mode``
    makes it), or ``pad+conv``."""
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
