"""Build and read the index: the checked table of a dataset's images.

The index of a rated dataset has the columns ``image, mos, reference, split, distortion, level``;
that of a corpus has ``image, width, height, digest``. Header lines of the form ``# key: value``
(values as JSON) record image counts, missing images and whether the rating scale was inverted.
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
from reiqa.catalog import DatasetEntry
from reiqa.data import matching, receipts
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.progress import log

RATED_COLUMNS = ("image", "mos", "reference", "split", "distortion", "level")
CORPUS_COLUMNS = ("image", "width", "height", "digest")


@dataclass(frozen=True)
class Index:
    """Index of a rated dataset, sorted by image.

    Attributes:
        name: name of the dataset.
        images: paths relative to the raw folder of the dataset.
        mos: ``(N,)`` float64; higher is better.
        reference: id of the reference; the image itself for authentic photographs.
        split: ``train``, ``val`` or ``test`` in the official split, or empty.
        distortion: name of the distortion, or empty.
        level: distortion level from 1, or 0 without a level.
        header: the header lines: counts, rating range, ``proxy`` and others.
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
        image: path relative to the raw folder of the corpus.
        width: in pixels, after EXIF orientation.
        height: in pixels, after EXIF orientation.
        digest: first 16 hexadecimal digits of the SHA-256 of the file.
    """

    image: str
    width: int
    height: int
    digest: str


def index_dataset(name: str, params: Params, verify: bool = False) -> Path:
    """Build the index of a dataset with the settings of ``params`` (see `build_index`)."""
    return build_index(name, params.data.allow_missing, verify)


def build_index(name: str, allow_missing: bool = False, verify: bool = False) -> Path:
    """Match the images of a fetched dataset with its rating table and write the index.

    Args:
        name: name of the dataset.
        allow_missing: index the images that exist and record the missing ones in the header.
        verify: read the header of every image; always done for a corpus.

    Returns:
        Path of the index.

    Raises:
        BadInputError: the dataset is not fetched; its official split is damaged; or images are
            missing, extra, unreadable or duplicate, and ``allow_missing`` is False.
    """
    entry = catalog.get_entry(name)
    folder = layout.image_folder(name)
    if entry.folder:
        receipts.require_folder(entry)
    # Before the files are read, so that the index is stale if they change meanwhile.
    content = entry.content() if entry.folder else {}
    files = ImageFiles.under(folder)
    if entry.kind == "rated":
        # The user's own files may be anything; an archive was checked when it was unpacked.
        checked = verify or bool(entry.folder)
        matched = matching.match_rated(entry, folder, files, checked, allow_missing)
    else:
        matched = matching.match_corpus(entry, folder, files)
    rows, header, faults = matched.rows, matched.header, matched.faults
    if str(faults) and not allow_missing:
        raise BadInputError(
            f"{_named(entry, folder)}: {faults}. {_remedy(entry)}, or "
            "leave the images out: data.allow_missing: true in params.yaml (only for this verb:"
            " --allow-missing)"
        )
    if not rows:
        raise BadInputError(
            f"{_named(entry, folder)}: no image of {entry.title} found. {_remedy(entry)}"
        )
    if str(faults):
        log(f"{name}: {len(rows):,} of {header['listed']:,} images; {faults}")
    if unrated := header.get("unrated"):
        first = ", ".join(header["unrated_first"])
        log(f"{name}: {unrated:,} images without a rating are left out (first: {first})")
    if entry.folder and entry.kind == "rated":
        # The rows do not change with the pixels, but the features do. Rows of a corpus do.
        header |= {"images_digest": content["images"]}
    path = layout.index(name)
    columns = RATED_COLUMNS if entry.kind == "rated" else CORPUS_COLUMNS
    store.write_text(path, _as_csv({**header, **faults.header()}, columns, sorted(rows)))
    return path


def _named(entry: DatasetEntry, folder: Path) -> str:
    return f"{entry.name}: {folder}" if entry.folder else str(folder)


def _remedy(entry: DatasetEntry) -> str:
    """Return what to do if files and listed images do not match."""
    if not entry.folder:
        return f"Fetch it again with: reiqa fetch --dataset {entry.name} --force"
    if entry.ratings is None:
        return f"Correct images in {catalog.PROJECT_FILE}, or the files"
    return f"Correct the lines of {entry.ratings.file}, or the files"


def read_index(path: Path) -> Index:
    """Read the index of a rated dataset.

    Raises:
        BadInputError: the file is missing or not a valid index.
    """
    header, rows = _read_rows(path, RATED_COLUMNS)
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
    """Read the index of a corpus.

    Raises:
        BadInputError: the file is missing or not a valid index.
    """
    _, rows = _read_rows(path, CORPUS_COLUMNS)
    try:
        return [
            CorpusImage(image, int(width), int(height), digest)
            for image, width, height, digest in rows
        ]
    except ValueError as error:
        raise _not_a_table(path, str(error)) from None


def read_header(path: Path) -> dict[str, Any]:
    """Read the header of an index without its rows.

    Raises:
        BadInputError: the file is missing or not a valid index.
    """
    header, _ = _header(path, _lines(path))
    if not header:
        raise _not_a_table(path, "it has no header")
    return header


def _as_csv(
    header: dict[str, Any], columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> str:
    comments = (
        f"# {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in header.items()
    )
    return "".join(comments) + text.format_csv(columns, rows)


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines: a file name may contain other Unicode line separators.
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        return [f"{line}\n" for line in lines]
    except FileNotFoundError:
        raise BadInputError(f"{path}: not found; run: reiqa index --dataset {path.stem}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _not_a_table(path, str(error)) from None


def _header(path: Path, lines: list[str]) -> tuple[dict[str, Any], int]:
    """Return the content of the comment lines and their number."""
    comments = list(takewhile(lambda line: line.startswith("# "), lines))
    header: dict[str, Any] = {}
    for line in comments:
        key, _, value = line[2:].partition(": ")
        try:
            header[key] = json.loads(value)
        except ValueError:
            raise _not_a_table(path, line.rstrip()) from None
    return header, len(comments)


def _read_rows(path: Path, columns: tuple[str, ...]) -> tuple[dict[str, Any], list[list[str]]]:
    lines = _lines(path)
    header, count = _header(path, lines)
    try:
        heads, *rows = list(csv.reader(lines[count:])) or [[]]
    except csv.Error as error:
        raise _not_a_table(path, str(error)) from None
    if tuple(heads) != columns or any(len(row) != len(columns) for row in rows):
        raise _not_a_table(path, f"expected columns {', '.join(columns)}")
    return header, rows


def _not_a_table(path: Path, why: str) -> BadInputError:
    return BadInputError(f"{path}: not a valid index ({why}). Delete it and run: reiqa index")
