"""Output files of rows, which a later run can resume."""

import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Self

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.scoring.record import Record, RowFormat, format_header, format_row, parse_row

# Prefix of a file of rows; a file with a different prefix is not overwritten.
_PREFIXES: dict[RowFormat, str] = {"csv": format_header("csv") + "\n", "jsonl": '{"image": '}


class RowFile:
    """A file of rows. Existing rows are kept; each new row is flushed before the next.

    During a run, rows are appended, and a replaced row follows the older one. `finish` rewrites the
    file in its final order, so that an interrupted and resumed run gives the same bytes.

    Attributes:
        known: the latest existing row of each image.
    """

    def __init__(self, path: Path, form: RowFormat) -> None:
        """Open or create a file and truncate an incomplete last line.

        Raises:
            BadInputError: the file has other content, or another process is writing to it.
        """
        self._path, self._form = path, form
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file: IO[bytes] = path.open("a+b")
        except IsADirectoryError:
            raise BadInputError(f"{path}: is a folder; --out expects a file") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            store.remove_partials(path)
            self.known: Mapping[str, Record] = self._read_existing()
        except BlockingIOError:
            self._file.close()
            raise BadInputError(f"{path}: another reiqa score is writing to it") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Append a row unless an identical one exists."""
        if self.known.get(record.image) != record:
            self._write(format_row(record, self._form))

    def finish(self, records: Iterable[Record]) -> None:
        """Rewrite the file with these rows in order, then older rows of other images."""
        rows = {record.image: record for record in records}
        rows |= {name: record for name, record in self.known.items() if name not in rows}
        lines = [
            format_header(self._form),
            *(format_row(record, self._form) for record in rows.values()),
        ]
        store.write_text(self._path, "".join(f"{text}\n" for text in lines if text))

    def _write(self, text: str) -> None:
        self._file.write(f"{text}\n".encode())
        self._file.flush()

    def _read_existing(self) -> dict[str, Record]:
        self._file.seek(0)
        data = self._file.read()
        text = data.decode("utf-8", "replace")
        prefix = _PREFIXES[self._form]
        if not text.startswith(prefix[: len(text)]):
            raise BadInputError(
                f"{self._path}: contains something other than rows of reiqa score"
                f" --format {self._form}; choose another file"
            )
        complete = data.rfind(b"\n") + 1
        self._file.truncate(complete)
        self._file.seek(0, os.SEEK_END)
        if not complete and (first := format_header(self._form)):
            self._write(first)
        rows = (parse_row(row, self._form) for row in text.split("\n")[:-1])
        return {record.image: record for record in rows if record}
