"""The checked table of a set's images: one builder for every set, fed by the catalog.

A rated set's table holds ``image, mos, reference, split, distortion, level``; a corpus's holds
``image, width, height, digest``. Above the columns stand ``# key: value`` lines (values as JSON)
that say what was counted, what is missing and which way the ratings were turned.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reiqa import layout, store
from reiqa.data import catalog, tables
from reiqa.data.catalog import Entry, Ratings
from reiqa.data.pictures import Pictures, extras, fits
from reiqa.errors import BadInputError
from reiqa.progress import say, track

RATED_COLUMNS = ("image", "mos", "reference", "split", "distortion", "level")
CORPUS_COLUMNS = ("image", "width", "height", "digest")

_NAMED = 3


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


@dataclass
class Faults:
    """What is wrong with a set: paths by kind, and how many are missing that no list names."""

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    unnamed: int = 0

    def counts(self) -> dict[str, int]:
        """Return how many of each kind; what is missing may have no names."""
        return {kind: len(paths) for kind, paths in self._named()} | {
            "missing": len(self.missing) + self.unnamed
        }

    def header(self) -> dict[str, Any]:
        """Return the counts, and the first few of each kind by name."""
        first = {f"{kind}_first": paths[:_NAMED] for kind, paths in self._named() if paths}
        return {**self.counts(), **first}

    def __str__(self) -> str:
        names = dict(self._named())
        return "; ".join(
            f"{count:,} {kind}"
            + (f" (first: {', '.join(names[kind][:_NAMED])})" if names[kind] else "")
            for kind, count in self.counts().items()
            if count
        )

    def _named(self) -> list[tuple[str, list[str]]]:
        return [
            ("missing", self.missing),
            ("extra", self.extra),
            ("unreadable", self.unreadable),
            ("duplicate", self.duplicate),
        ]


def build(name: str, allow_missing: bool = False, verify: bool = False) -> Path:
    """Line up a fetched set's images with what is listed of them, and write the table.

    Args:
        name: of the set.
        allow_missing: write the table of what is there, and say in it what is not.
        verify: read the header of every image; a corpus's are always read.

    Returns:
        Path of the table.

    Raises:
        BadInputError: the set is not fetched, or images are missing, extra, unreadable or there
            twice, and ``allow_missing`` is not given.
    """
    entry = catalog.get(name)
    raw = layout.raw(name)
    files = Pictures.below(raw)
    make = _rated if entry.kind == "rated" else _corpus
    rows, header, faults = make(entry, raw, files, verify)
    if str(faults) and not allow_missing:
        raise BadInputError(
            f"{raw}: {faults}; fetch it again, or take what is there with --allow-missing"
        )
    if not rows:
        raise BadInputError(f"{raw}: not one image of {entry.title} is there; fetch it again")
    if str(faults):
        say(f"{name}: {len(rows):,} of {header['listed']:,} images; {faults}")
    path = layout.index(name)
    columns = RATED_COLUMNS if entry.kind == "rated" else CORPUS_COLUMNS
    store.write_text(path, _as_csv({**header, **faults.header()}, columns, sorted(rows)))
    return path


def read(path: Path) -> Index:
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


def turned(score: float, ratings: Ratings) -> float:
    """Return a published score so that higher is better, within the same range."""
    return score if ratings.higher_is_better else ratings.low + ratings.high - score


_Made = tuple[list[tuple[object, ...]], dict[str, Any], Faults]


def _rated(entry: Entry, raw: Path, files: Pictures, verify: bool) -> _Made:
    assert entry.ratings is not None
    table = tables.read(entry, raw)
    official = tables.read_official(entry, raw, files)
    faults = Faults()
    chosen: dict[str, tables.Row] = {}
    for row in table.rows:
        found = files.find(row.path, entry.ratings.tail)
        if found.path is None:
            faults.missing.append(row.path)
        elif found.path in chosen or found.rivals:
            faults.duplicate.append(", ".join((found.path, *found.rivals)))
        elif files.sizes[found.path] == 0:
            faults.unreadable.append(found.path)
        if found.path is not None and files.sizes[found.path] > 0:
            chosen.setdefault(found.path, row)
    if verify:
        for path in _unreadable(raw, sorted(chosen)):
            faults.unreadable.append(path)
            del chosen[path]
    used = {*chosen, *faults.unreadable}
    beside = extras(files.images(), used, table.beside)
    faults.extra = [path for path in beside if not fits(path, entry.beside)]
    faults.missing.sort()
    rows: list[tuple[object, ...]] = [
        (
            path,
            repr(turned(row.score, entry.ratings)),
            _group(row) if entry.grouped else path,
            official.of(path) or "",
            row.distortion,
            row.level,
        )
        for path, row in chosen.items()
    ]
    return rows, {**_about(entry, len(table.rows), rows), **_split_told(official, rows)}, faults


def _corpus(entry: Entry, raw: Path, files: Pictures, verify: bool) -> _Made:
    # Headers are read either way, for the table holds each photograph's size.
    del verify
    faults = Faults()
    rows: list[tuple[object, ...]] = []
    seen: dict[str, str] = {}
    copies = []
    paths = _kept(entry, raw, files)
    for path, facts in _measured(raw, paths):
        if facts is None:
            faults.unreadable.append(path)
            continue
        rows.append((path, *facts))
        if (first := seen.setdefault(facts[2], path)) != path:
            copies.append(f"{path} = {first}")
    faults.unnamed = max(0, entry.images - len(paths))
    faults.extra = paths[entry.images :]
    # A corpus has no ratings that a copy could contradict: counted, and no fault.
    told = {"copies": len(copies), "copies_first": copies[:_NAMED]}
    return rows, {**_about(entry, entry.images, rows), **told}, faults


def _kept(entry: Entry, raw: Path, files: Pictures) -> list[str]:
    if not entry.keep and not entry.keep_listed:
        return files.images()
    kept = {path for path in files.images() if fits(path, entry.keep)}
    for listing in entry.keep_listed:
        place = files.named(listing.file)
        if place is None:
            raise BadInputError(f"{raw}: {listing.file} is not there; fetch {entry.name} again")
        stems = tables.read_listing(raw / place, listing.image, listing.column, listing.value)
        kept |= {
            path
            for path in files.images()
            if fits(path, (f"{listing.folder}/*",)) and PurePosixPath(path.lower()).stem in stems
        }
    return sorted(kept)


def _about(entry: Entry, listed: int, rows: list[tuple[object, ...]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": entry.name,
        "title": entry.title,
        "listed": listed,
        "indexed": len(rows),
        "published": entry.published or entry.images,
        "note": entry.note,
    }
    if entry.ratings is None:
        return told
    ratings = entry.ratings
    return {
        **told,
        "measure": ratings.measure,
        "proxy": entry.proxy,
        "rating_low": ratings.low,
        "rating_high": ratings.high,
        "turned": ""
        if ratings.higher_is_better
        else f"{ratings.low + ratings.high:g} - {ratings.measure}",
        "references": len({row[2] for row in rows}) if entry.grouped else 0,
    }


def _split_told(official: tables.Official, rows: list[tuple[object, ...]]) -> dict[str, Any]:
    """Say how much of an official split there is, and which images it leaves out."""
    if official.absent:
        state = f"not usable, absent: {', '.join(official.absent)}"
    else:
        state = "complete" if official.parts else "none published"
    left = sorted(str(row[0]) for row in rows if not row[3])
    told: dict[str, Any] = {"official_split": state}
    if official.parts and left:
        told |= {"left_out": len(left), "left_out_first": left[:_NAMED]}
    return told


def _group(row: tables.Row) -> str:
    return PurePosixPath(row.reference.lower()).stem


def _unreadable(raw: Path, paths: list[str]) -> list[str]:
    sizes = _parallel(partial(_size, raw), paths, "verify")
    return [path for path, size in zip(paths, sizes, strict=True) if size is None]


def _measured(raw: Path, paths: list[str]) -> Iterator[tuple[str, tuple[int, int, str] | None]]:
    return zip(paths, _parallel(partial(_facts, raw), paths, "measure"), strict=True)


def _parallel(function: Callable[[str], Any], paths: list[str], label: str) -> Iterator[Any]:
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        yield from track(pool.map(function, paths), label, total=len(paths))


def _size(raw: Path, path: str) -> tuple[int, int] | None:
    from reiqa.images import read_size

    try:
        return read_size(raw / path)
    except BadInputError:
        return None


def _facts(raw: Path, path: str) -> tuple[int, int, str] | None:
    size = _size(raw, path)
    return size and (size[1], size[0], store.file_digest(raw / path)[:16])


def _as_csv(
    header: dict[str, Any], columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> str:
    text = io.StringIO()
    for key, value in header.items():
        text.write(f"# {key}: {json.dumps(value, ensure_ascii=False)}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
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
            raise _not_a_table(path, line) from None
    return header, len(told)


def _read(path: Path, columns: tuple[str, ...]) -> tuple[dict[str, Any], list[list[str]]]:
    lines = _lines(path)
    header, count = _header(path, lines)
    heads, *rows = list(csv.reader(lines[count:])) or [[]]
    if tuple(heads) != columns or any(len(row) != len(columns) for row in rows):
        raise _not_a_table(path, f"columns {', '.join(columns)} expected")
    return header, rows


def _not_a_table(path: Path, why: str) -> BadInputError:
    return BadInputError(f"{path}: not an index ({why}); delete it and run: reiqa index")
