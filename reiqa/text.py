"""Text: tables aligned for people or as CSV for programs, and lines that are safe to show."""

import csv
import io
from collections.abc import Iterable, Sequence


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their heads, each column as wide as its widest cell."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_csv(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return rows under their heads as CSV: fields quoted where they must be, None empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return stream.getvalue()


def printable(line: str) -> str:
    """Spell out what would steer a terminal: names may come from a stranger's archive."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
