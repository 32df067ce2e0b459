"""Tables of plain text for a terminal or a log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

INDENT = "  "


def lines(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> Iterator[str]:
    """The rows under their heads, columns aligned; those named in ``right`` on the right."""
    plain = [list(heads), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        cells = [
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ]
        yield (INDENT + "  ".join(cells)).rstrip()


def printable(text: str) -> str:
    """The text on one line, control characters (a terminal would obey them) as escapes."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
