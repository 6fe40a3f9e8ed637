"""Rows of scores as text: printed as they come, or saved in a file that a later run resumes."""

import csv
import fcntl
import io
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, Self

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.progress import log, track
from reiqa.scoring.scorer import Score

RowFormat = Literal["table", "csv", "jsonl", "json"]
Order = Literal["worst", "best", "name"]


@dataclass(frozen=True)
class Record:
    """One row; numbers are None if there is an error.

    Attributes:
        image: path of the image.
        score: points, 0 to 100, higher is better.
        low, high: expected range.
        content, quality: contribution of each expert in points.
        width, height: in pixels.
        sha256: first digits of the file's digest; empty if it could not be read.
        bundle: identity of the bundle.
        error: error message, or empty.
    """

    image: str
    score: float | None
    low: float | None
    high: float | None
    content: float | None
    quality: float | None
    width: int | None
    height: int | None
    sha256: str
    bundle: str
    error: str

    @classmethod
    def scored(cls, image: str, score: Score, sha256: str, bundle: str) -> Self:
        """Create the row of a score, rounded to a thousandth of a point."""
        return cls(
            image,
            _rounded(score),
            _rounded(score.low),
            _rounded(score.high),
            _rounded(score.content),
            _rounded(score.quality),
            score.width,
            score.height,
            sha256,
            bundle,
            "",
        )

    @classmethod
    def failed(cls, image: str, sha256: str, bundle: str, error: str) -> Self:
        """Create the row of an image that cannot be scored."""
        return cls(image, None, None, None, None, None, None, None, sha256, bundle, error)


_NAMES = tuple(field.name for field in fields(Record))
_TEXTS = ("image", "sha256", "bundle", "error")
_COUNTS = ("width", "height")


def _rounded(number: float) -> float:
    # Adding zero turns -0.0 into 0.0.
    return round(float(number), 3) + 0.0


def format_header(form: RowFormat) -> str:
    """Return the header line, or "" if the format has none."""
    match form:
        case "csv":
            return ",".join(_NAMES)
        case "table":
            return " score  expected     content  quality  size         image"
    return ""


def format_row(record: Record, form: RowFormat) -> str:
    """Return a row as one line."""
    match form:
        case "csv":
            return _csv(record)
        case "jsonl" | "json":
            return json.dumps(asdict(record), ensure_ascii=False)
    return _aligned(record)


def parse_row(text: str, form: RowFormat) -> Record | None:
    """Parse a row written by `format_row` as CSV or JSON; return None if it is invalid."""
    try:
        if form == "csv":
            (cells,) = csv.reader([text], strict=True)
            tree: dict[str, Any] = {
                name: _typed(name, cell) for name, cell in zip(_NAMES, cells, strict=True)
            }
        else:
            tree = json.loads(text)
        record = Record(**tree)
    except (csv.Error, ValueError, TypeError):
        return None
    return record if _is_valid(record) else None


def _is_valid(record: Record) -> bool:
    texts = [getattr(record, name) for name in _TEXTS]
    numbers = [getattr(record, name) for name in _NAMES if name not in _TEXTS]
    if not all(isinstance(text, str) for text in texts):
        return False
    if record.error:
        return all(number is None for number in numbers)
    return all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)


def _csv(record: Record) -> str:
    cells = (
        f"{value:.3f}" if isinstance(value, float) else "" if value is None else value
        for value in asdict(record).values()
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _typed(name: str, cell: str) -> str | float | int | None:
    if name in _TEXTS:
        return cell
    if not cell:
        return None
    return int(cell) if name in _COUNTS else float(cell)


def _aligned(record: Record) -> str:
    if record.score is None:
        return f"{'-':>6}  {record.image}: {record.error}"
    expected = f"{record.low:.0f} to {record.high:.0f}"
    size = f"{record.width}x{record.height}"
    return (
        f"{record.score:6.1f}  {expected:<11}  {record.content:+7.1f}  {record.quality:+7.1f}"
        f"  {size:<11}  {record.image}"
    )


# Prefix of a file of rows; a file with a different prefix is not overwritten.
_PREFIXES: dict[RowFormat, str] = {"csv": format_header("csv") + "\n", "jsonl": '{"image": '}


class RowFile:
    """A file of rows. Existing rows are kept; each new row is flushed before the next.

    During a run, rows are appended, and a replaced row follows the older one. `finish` rewrites the
    file in its final order, so that an interrupted and resumed run gives the same bytes.

    Attributes:
        path: path of the file.
        known: the latest existing row of each image.
    """

    def __init__(self, path: Path, form: RowFormat) -> None:
        """Open or create a file and truncate an incomplete last line; a link is followed.

        Raises:
            BadInputError: the file cannot be written, has other content, or another process is
                writing to it.
        """
        self.path, self._form = store.link_target(path), form
        path = self.path
        store.check_target(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("a+b")
        except OSError as error:
            raise store.unwritable(path, error) from None
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
        store.write_text(self.path, "".join(f"{text}\n" for text in lines if text))

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
                f"{self.path}: contains something other than rows of reiqa score"
                f" --format {self._form}; choose another file"
            )
        complete = data.rfind(b"\n") + 1
        self._file.truncate(complete)
        self._file.seek(0, os.SEEK_END)
        if not complete and (first := format_header(self._form)):
            self._write(first)
        rows = (parse_row(row, self._form) for row in text.split("\n")[:-1])
        return {record.image: record for record in rows if record}


def write_rows(
    rows: Iterable[Record], total: int, form: RowFormat, table: RowFile | None, order: Order | None
) -> int:
    """Save or print the rows; return the number of errors."""
    if table:
        return _save(rows, total, table, order)
    return _print_rows(rows, total, form, order)


def _save(rows: Iterable[Record], total: int, table: RowFile, order: Order | None) -> int:
    saved = []
    for record in track(rows, "score", total):
        table.add(record)
        saved.append(record)
    table.finish(_sort_rows(saved, order))
    failed = sum(bool(record.error) for record in saved)
    # By identity: an image may have been scored again, for its map, with the same result.
    reused = sum(record is table.known.get(record.image) for record in saved)
    scored = len(saved) - reused - failed
    log(f"{table.path}: {len(saved)} rows ({scored} scored, {reused} reused, {failed} failed)")
    return failed


def _print_rows(rows: Iterable[Record], total: int, form: RowFormat, order: Order | None) -> int:
    # On a terminal the rows show the progress, and a progress bar would interrupt them.
    if order or not sys.stdout.isatty():
        rows = track(rows, "score", total)
    failed = 0
    try:
        if first := format_header(form):
            print(first)
        for number, record in enumerate(_sort_rows(list(rows), order) if order else rows):
            failed += bool(record.error)
            start = ("[\n", ",\n")[number > 0] if form == "json" else ""
            print(start + format_row(record, form), end="" if form == "json" else "\n", flush=True)
        if form == "json":
            print("\n]")
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; avoid another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failed


def _sort_rows(records: Sequence[Record], order: Order | None) -> list[Record]:
    """Return sorted rows; when sorting by score, errors come last."""

    def key(record: Record) -> tuple[bool, float | str]:
        if order == "name":
            return False, record.image
        if record.score is None:
            return True, 0.0
        return False, record.score if order == "worst" else -record.score

    return sorted(records, key=key) if order else list(records)
