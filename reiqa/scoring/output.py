"""Where rows go: to a stream as they come, or to a file that a later run goes on with."""

import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Self

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.scoring.record import Record, RowFormat, format_header, format_row, parse_row

# How a file of rows begins; none that begins otherwise is written to.
_BEGINS: dict[RowFormat, str] = {"csv": format_header("csv") + "\n", "jsonl": '{"image": '}


class RowFile:
    """A file of rows. Rows already there are kept; each new one is on disk before the next.

    While it grows, rows stand in the order they were made, and a row that replaces an older one
    stands after it. `finish` brings it into its one order, so a run that was cut and resumed ends
    in the same bytes as one that was not.

    Attributes:
        known: the latest row of each image that was there.
    """

    def __init__(self, path: Path, form: RowFormat) -> None:
        """Open or make a file; what a kill left of a last line is cut off.

        Raises:
            BadInputError: it holds something else, or another process is writing it.
        """
        self._path, self._form = path, form
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file: IO[bytes] = path.open("a+b")
        except IsADirectoryError:
            raise BadInputError(f"{path}: a folder; --out takes a file") from None
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
        """Append a row, unless it is the one that was there."""
        if self.known.get(record.image) != record:
            self._write(format_row(record, self._form))

    def finish(self, records: Iterable[Record]) -> None:
        """Rewrite the file: these rows in this order, then older rows of other images."""
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
        begins = _BEGINS[self._form]
        if not text.startswith(begins[: len(text)]):
            raise BadInputError(
                f"{self._path}: holds something else than rows of reiqa score"
                f" --format {self._form}; give another file"
            )
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        if not whole and (first := format_header(self._form)):
            self._write(first)
        rows = (parse_row(row, self._form) for row in text.split("\n")[:-1])
        return {record.image: record for record in rows if record}
