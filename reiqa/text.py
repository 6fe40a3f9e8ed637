"""Text: tables aligned for people or as CSV for programs, and lines that are safe to show."""

import csv
from collections.abc import Iterable, Sequence


def align_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their heads, each column as wide as its widest cell."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


class _Lines:
    """Takes rows with CSV's own line end, keeps them with a plain one."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line.removesuffix("\r\n") + "\n")


def format_csv(heads: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return rows under their heads as CSV: fields quoted where they must be, None empty."""
    stream = _Lines()
    # Python quotes what its line end is made of, and a name may hold either character.
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return "".join(stream.lines)


def escape_control_characters(line: str) -> str:
    """Spell out what would steer a terminal: names may come from a stranger's archive."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
