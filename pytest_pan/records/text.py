"""Text helpers for messages: plurals, and external texts made safe for a terminal."""

from __future__ import annotations

import re

_MAX_NAME = 200
"""Characters of a name on a line; a longer one is cut in the middle."""
_MAX_LINE = 1_000
_NAME = re.compile(rf"\S{{{_MAX_NAME + 1},}}")
_GAP = re.compile(r" {100,}")
"""A gap that aligns the lines of much longer names."""
_IRREGULAR = {"class": "classes", "box": "boxes"}


def plural(number: int, noun: str) -> str:
    """Return ``1 test`` or ``1,200 tests``."""
    return f"{number:,} {noun if number == 1 else _IRREGULAR.get(noun, noun + 's')}"


def escaped(text: str, *, keep: str = "") -> str:
    """Return the text with control characters escaped, such as ``\\x1b``, except those to keep.

    Spaces stay as they are. Line breaks, direction marks and lone surrogates count as control
    characters too.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def cut(text: str, room: int = _MAX_NAME) -> str:
    """Return the text, without its middle if it is longer than ``room`` characters."""
    if len(text) <= room:
        return text
    half = (room - 3) // 2
    return f"{text[: room - 3 - half]}...{text[-half:]}"


def line(text: str) -> str:
    """Return the text as one line for a terminal: escaped, without the middle of long names."""
    plain = _GAP.sub("  ", escaped(text))
    return cut(_NAME.sub(lambda name: cut(name[0]), plain), _MAX_LINE)
