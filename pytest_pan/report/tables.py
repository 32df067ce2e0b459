"""Plain text tables for a terminal or a log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pytest_pan.records.text import cut, escaped

INDENT = "  "


def lines(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> Iterator[str]:
    """Yield the header and the rows in aligned columns; columns in ``right`` are right-aligned."""
    plain = [list(heads), *([cut(printable(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        cells = [
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        yield (INDENT + "  ".join(cells)).rstrip()


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped."""
    return escaped(" ".join(text.split()))
