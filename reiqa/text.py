"""Text: decoding, aligned tables, CSV, and escaping for terminals."""

import codecs
import csv
import io
from collections.abc import Iterable, Sequence


def decode(content: bytes) -> str:
    """Decode a text file by its byte order mark, UTF-8 without one.

    PowerShell and Excel ("Unicode text") write UTF-16.

    Raises:
        ValueError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"byte {error.start} is not {error.encoding.upper()}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("contains NUL characters; save the file as UTF-8")
    return text


def lines(content: bytes) -> list[str]:
    """Decode a text file (see `decode`) and return its lines for the csv module, with their ends.

    Other separators of Unicode, which may be part of a file name, do not end a line.
    """
    return list(io.StringIO(decode(content), newline=""))


def align_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a text table with aligned columns."""
    table = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
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
