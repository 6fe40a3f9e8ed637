"""The checked table of a set's images: one builder for every set, fed by the catalog.

A rated set's table holds ``image, mos, reference, split, distortion, level``; a corpus's holds
``image, width, height, digest``. Above the columns stand ``# key: value`` lines (values as JSON)
that say what was counted, what is missing and which way the ratings were turned.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reiqa import catalog, layout, store, text
from reiqa.data import matching
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.progress import log

RATED_COLUMNS = ("image", "mos", "reference", "split", "distortion", "level")
CORPUS_COLUMNS = ("image", "width", "height", "digest")


@dataclass(frozen=True)
class Index:
    """A rated set, row by row, sorted by image.

    Attributes:
        name: of the set.
        images: paths relative to the set's raw folder.
        mos: ``(N,)`` float64; higher is better.
        reference: id of the original; the image itself for authentic photographs.
        split: ``train``, ``val``, ``test`` of the official split, or empty.
        distortion: its name, or empty.
        level: 1 and up; 0 where there is none.
        header: what the table says of itself: counts, rating range, ``proxy`` and the like.
    """

    name: str
    images: list[str]
    mos: NDArray[np.float64]
    reference: list[str]
    split: list[str]
    distortion: list[str]
    level: list[int]
    header: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


@dataclass(frozen=True)
class CorpusImage:
    """One photograph of a corpus.

    Attributes:
        image: path relative to the corpus's raw folder.
        width: in pixels, upright.
        height: in pixels, upright.
        digest: first 16 hexadecimal digits of the SHA-256 of the file.
    """

    image: str
    width: int
    height: int
    digest: str


def index_dataset(name: str, params: Params, verify: bool = False) -> Path:
    """Build a set's table as the parameters allow (see `build_index`)."""
    return build_index(name, params.data.allow_missing, verify)


def build_index(name: str, allow_missing: bool = False, verify: bool = False) -> Path:
    """Line up a fetched set's images with what is listed of them, and write the table.

    Args:
        name: of the set.
        allow_missing: write the table of what is there, and say in it what is not.
        verify: read the header of every image; a corpus's are always read.

    Returns:
        Path of the table.

    Raises:
        BadInputError: the set is not fetched; its official split is damaged; or images are
            missing, extra, unreadable or there twice, and ``allow_missing`` is not given.
    """
    entry = catalog.get_entry(name)
    raw = layout.raw(name)
    files = ImageFiles.under(raw)
    if entry.kind == "rated":
        made = matching.match_rated(entry, raw, files, verify, allow_missing)
    else:
        made = matching.match_corpus(entry, raw, files)
    rows, header, faults = made.rows, made.header, made.faults
    if str(faults) and not allow_missing:
        raise BadInputError(
            f"{raw}: {faults}; bring it again with: reiqa fetch --dataset {name} --force, or take "
            "what is there with --allow-missing"
        )
    if not rows:
        raise BadInputError(
            f"{raw}: not one image of {entry.title} is there; bring it again with: "
            f"reiqa fetch --dataset {name} --force"
        )
    if str(faults):
        log(f"{name}: {len(rows):,} of {header['listed']:,} images; {faults}")
    path = layout.index(name)
    columns = RATED_COLUMNS if entry.kind == "rated" else CORPUS_COLUMNS
    store.write_text(path, _as_csv({**header, **faults.header()}, columns, sorted(rows)))
    return path


def read_index(path: Path) -> Index:
    """Read the table of a rated set.

    Raises:
        BadInputError: it is missing or not such a table.
    """
    header, rows = _read(path, RATED_COLUMNS)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in RATED_COLUMNS]
    images, mos, reference, split, distortion, level = columns
    try:
        return Index(
            name=str(header["name"]),
            images=images,
            mos=np.array(mos, dtype=np.float64),
            reference=reference,
            split=split,
            distortion=distortion,
            level=[int(number) for number in level],
            header=header,
        )
    except (KeyError, ValueError) as error:
        raise _not_a_table(path, str(error)) from None


def read_corpus(path: Path) -> list[CorpusImage]:
    """Read the table of a corpus.

    Raises:
        BadInputError: it is missing or not such a table.
    """
    _, rows = _read(path, CORPUS_COLUMNS)
    try:
        return [
            CorpusImage(image, int(width), int(height), digest)
            for image, width, height, digest in rows
        ]
    except ValueError as error:
        raise _not_a_table(path, str(error)) from None


def read_header(path: Path) -> dict[str, Any]:
    """Read what the table of a set says of itself, without its rows.

    Raises:
        BadInputError: it is missing or not such a table.
    """
    return _header(path, _lines(path))[0]


def subsample(path: Path, count: int) -> str:
    """Return the text of a rated index with no more than ``count`` of its rows, evenly spread.

    Raises:
        BadInputError: it is missing or not such a table.
    """
    header, rows = _read(path, RATED_COLUMNS)
    if count < len(rows):
        rows = [rows[number * len(rows) // count] for number in range(count)]
    return _as_csv(header, RATED_COLUMNS, map(tuple, rows))


def _as_csv(
    header: dict[str, Any], columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> str:
    told = (f"# {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in header.items())
    return "".join(told) + text.format_csv(columns, rows)


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines: a file name may hold what Unicode counts as the end of a line.
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        return [f"{line}\n" for line in lines]
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: not made yet; run: reiqa index --dataset {path.stem}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _not_a_table(path, str(error)) from None


def _header(path: Path, lines: list[str]) -> tuple[dict[str, Any], int]:
    """Return what the comment lines say, and how many there are."""
    told = list(takewhile(lambda line: line.startswith("# "), lines))
    header: dict[str, Any] = {}
    for line in told:
        key, _, value = line[2:].partition(": ")
        try:
            header[key] = json.loads(value)
        except ValueError:
            raise _not_a_table(path, line.rstrip()) from None
    return header, len(told)


def _read(path: Path, columns: tuple[str, ...]) -> tuple[dict[str, Any], list[list[str]]]:
    lines = _lines(path)
    header, count = _header(path, lines)
    try:
        heads, *rows = list(csv.reader(lines[count:])) or [[]]
    except csv.Error as error:
        raise _not_a_table(path, str(error)) from None
    if tuple(heads) != columns or any(len(row) != len(columns) for row in rows):
        raise _not_a_table(path, f"columns {', '.join(columns)} expected")
    return header, rows


def _not_a_table(path: Path, why: str) -> BadInputError:
    return BadInputError(f"{path}: not an index ({why}); delete it and run: reiqa index")
