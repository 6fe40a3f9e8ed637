"""Text formatting: aligned tables, CSV, and escaping for terminals."""

import csv
from collections.abc import Iterable, Sequence


def align_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a text table with aligned columns."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


class _Lines:
    """File object for csv.writer that converts line ends to newlines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line.removesuffix("\r\n") + "\n")


def format_csv(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a CSV table with minimal quoting; None becomes an empty field."""
    stream = _Lines()
    # csv quotes fields that contain characters of the line terminator; names may contain both.
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return "".join(stream.lines)


def escape_control_characters(line: str) -> str:
    """Escape control characters, which could come from file names in untrusted archives."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def percent(fraction: float) -> str:
    """Format a fraction as whole per cent, with a space that does not break."""
    return f"{100 * fraction:.0f}\N{NO-BREAK SPACE}%"
