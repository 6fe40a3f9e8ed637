"""Match listed images with files, and report missing, extra, unreadable and duplicate ones."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from reiqa import devices, store
from reiqa.catalog import PROJECT_FILE, DatasetEntry, RatingsSpec
from reiqa.data import rating_tables
from reiqa.data.image_files import ImageFiles, extras, matches_any, unlisted
from reiqa.errors import BadInputError
from reiqa.progress import track

_EXAMPLES = 3


@dataclass
class MatchFaults:
    """Problems of a dataset: paths by kind, and the number of missing images without a name.

    Attributes:
        reason: why the first unreadable image cannot be read.
    """

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    unnamed: int = 0
    reason: str = ""

    def add_unreadable(self, path: str, reason: str) -> None:
        """Add an image that cannot be read."""
        self.unreadable.append(path)
        self.reason = self.reason or reason

    def counts(self) -> dict[str, int]:
        """Return the number of images of each kind, including missing ones without a name."""
        return {kind: len(paths) for kind, paths in self._paths_by_kind()} | {
            "missing": len(self.missing) + self.unnamed
        }

    def header(self) -> dict[str, Any]:
        """Return the counts and the first few paths of each kind."""
        first = {
            f"{kind}_first": paths[:_EXAMPLES] for kind, paths in self._paths_by_kind() if paths
        }
        return {**self.counts(), **first}

    def __str__(self) -> str:
        names = dict(self._paths_by_kind())
        reasons = {"unreadable": f": {self.reason}"} if self.reason else {}
        return "; ".join(
            f"{count:,} {kind}"
            + (
                f" (first: {', '.join(names[kind][:_EXAMPLES])}{reasons.get(kind, '')})"
                if names[kind]
                else ""
            )
            for kind, count in self.counts().items()
            if count
        )

    def _paths_by_kind(self) -> list[tuple[str, list[str]]]:
        return [
            ("missing", self.missing),
            ("extra", self.extra),
            ("unreadable", self.unreadable),
            ("duplicate", self.duplicate),
        ]


@dataclass(frozen=True)
class MatchedRows:
    """Content of an index before it is written: rows, header and faults."""

    rows: list[tuple[object, ...]]
    header: dict[str, Any]
    faults: MatchFaults


def orient_rating(score: float, ratings: RatingsSpec) -> float:
    """Return a score on the same scale, inverted if needed so that higher is better."""
    if ratings.higher_is_better:
        return score
    assert ratings.low is not None and ratings.high is not None
    return ratings.low + ratings.high - score


def match_rated(
    entry: DatasetEntry, raw: Path, files: ImageFiles, verify: bool, allow_missing: bool = False
) -> MatchedRows:
    """Find the file of each row in the rating table of a dataset.

    Args:
        entry: catalog entry of the dataset.
        raw: folder of the dataset.
        files: files in the folder.
        verify: read the header of every image.
        allow_missing: accept missing images, and missing rows of the official split with them.

    Raises:
        BadInputError: the table or the official split is damaged.
    """
    assert entry.ratings is not None
    table = rating_tables.read_ratings(entry, raw)
    _check_counts(entry, table.rows, allow_missing)
    official = rating_tables.read_official(entry, raw, files)
    # `_check_counts` may accept a table with too few rows; the header must report them.
    faults = MatchFaults(unnamed=max(0, (entry.images or 0) - len(table.rows)))
    chosen = _choose_files(entry, files, table.rows, faults)
    if verify:
        for path, reason in _unreadable(raw, sorted(chosen)).items():
            faults.add_unreadable(path, reason)
            del chosen[path]
    used = {*chosen, *faults.unreadable}
    unrated: list[str] = []
    if entry.folder:
        # Users rate some images of a folder; archives contain exactly those that are listed.
        unrated = unlisted(files.images(), used, table.unrated)
    else:
        found_extra = extras(files.images(), used, table.unrated)
        faults.extra = [path for path in found_extra if not matches_any(path, entry.unrated)]
    ratings = _with_range(entry, raw, table.rows)
    grouped = entry.grouped or (bool(entry.folder) and any(row.reference for row in table.rows))
    rows: list[tuple[object, ...]] = [
        (
            path,
            repr(orient_rating(row.score, ratings)),
            _group(entry, row) or path if grouped else path,
            official.part_of(path) or "",
            row.distortion,
            row.level,
        )
        for path, row in chosen.items()
    ]
    tolerant = allow_missing and bool(faults.missing)
    state = _split_state(entry, raw, official, table.rows, tolerant)
    about = {
        **_header(entry, len(table.rows), len(rows)),
        **_ratings_header(ratings, entry.proxy),
        "references": len({row[2] for row in rows}) if grouped else 0,
    }
    header = {**about, "official_split": state, **_left_out(entry, rows)}
    if unrated:
        header |= {"unrated": len(unrated), "unrated_first": unrated[:_EXAMPLES]}
    return MatchedRows(rows, header, faults)


def _choose_files(
    entry: DatasetEntry,
    files: ImageFiles,
    rows: list[rating_tables.RatingRow],
    faults: MatchFaults,
) -> dict[str, rating_tables.RatingRow]:
    """Return the row of each file, and add rows without a file of their own to ``faults``."""
    assert entry.ratings is not None
    chosen: dict[str, rating_tables.RatingRow] = {}
    # Archives differ in their outer folders; the paths of a local dataset have to be right.
    tail = None if entry.folder else entry.ratings.tail
    for row in rows:
        found = files.find(row.path, tail)
        if found.path is None:
            faults.missing.append(_label(entry, row.path, row))
        elif found.path in chosen or found.rivals:
            same = " = ".join((found.path, *found.rivals))
            faults.duplicate.append(_label(entry, same, row))
        elif files.sizes[found.path] == 0:
            faults.add_unreadable(found.path, "empty file")
        if found.path is not None and files.sizes[found.path] > 0:
            chosen.setdefault(found.path, row)
    faults.missing.sort()
    return chosen


def _label(entry: DatasetEntry, path: str, row: rating_tables.RatingRow) -> str:
    """Return a path for messages, with its line if the user wrote the table."""
    return f"{path} (line {row.line})" if entry.folder else path


def _with_range(entry: DatasetEntry, raw: Path, rows: list[rating_tables.RatingRow]) -> RatingsSpec:
    """Return the ratings of an entry with the lowest and highest rating as ends of the scale.

    Ends that the entry states are kept.

    Raises:
        BadInputError: the scale has no extent.
    """
    assert entry.ratings is not None
    ratings = entry.ratings
    if ratings.low is not None and ratings.high is not None:
        return ratings
    scores = [row.score for row in rows]
    low = min(scores) if ratings.low is None else ratings.low
    high = max(scores) if ratings.high is None else ratings.high
    if not low < high:
        raise BadInputError(
            f"{entry.name}: {rating_tables.table_path(entry, raw)}: all ratings are {low:g}. Name"
            f" another column in ratings.score, or state ratings.low and ratings.high in"
            f" {PROJECT_FILE}"
        )
    return ratings.model_copy(update={"low": low, "high": high})


def _check_counts(
    entry: DatasetEntry, listed: list[rating_tables.RatingRow], allow_missing: bool
) -> None:
    """Compare the size of the rating table with the counts in the catalog.

    Raises:
        BadInputError: it lists more images or references, or fewer without ``allow_missing``.
    """
    counts = {}
    if entry.images is not None:
        counts["images"] = (entry.images, len(listed))
    if entry.references is not None:
        groups = {_group(entry, row) or row.path for row in listed}
        counts["references"] = (entry.references, len(groups))
    for what, (declared, found) in counts.items():
        if found > declared or (found < declared and not allow_missing):
            if entry.folder:
                raise BadInputError(
                    f"{entry.name}: the table lists {found:,} {what}, but {PROJECT_FILE} says"
                    f" {what}: {declared}. Correct {what} there, or the lines of the table"
                )
            raise BadInputError(
                f"{entry.name}: the table lists {found:,} {what}, the catalog says {what}:"
                f" {declared}. Correct the entry, or fetch the dataset again with: reiqa fetch"
                f" --dataset {entry.name} --force"
            )


def match_corpus(entry: DatasetEntry, raw: Path, files: ImageFiles) -> MatchedRows:
    """Read size and digest of every photograph of a corpus.

    Args:
        entry: catalog entry of the corpus.
        raw: folder of the corpus.
        files: files in the folder.
    """
    assert entry.images is not None
    faults = MatchFaults()
    rows: list[tuple[object, ...]] = []
    seen: dict[str, str] = {}
    copies = []
    paths = _kept(entry, raw, files)
    for path, facts in _measured(raw, paths):
        if isinstance(facts, str):
            faults.add_unreadable(path, facts)
            continue
        rows.append((path, *facts))
        if (first := seen.setdefault(facts[2], path)) != path:
            copies.append(f"{path} = {first}")
    faults.unnamed = max(0, entry.images - len(paths))
    faults.extra = paths[entry.images :]
    # A corpus has no ratings that a duplicate could contradict, so duplicates are no fault.
    duplicates = {"copies": len(copies), "copies_first": copies[:_EXAMPLES]}
    header = {**_header(entry, entry.images, len(rows)), **duplicates}
    return MatchedRows(rows, header, faults)


def _kept(entry: DatasetEntry, raw: Path, files: ImageFiles) -> list[str]:
    if not entry.keep and not entry.keep_listed:
        return files.images()
    kept = {path for path in files.images() if matches_any(path, entry.keep)}
    for listing in entry.keep_listed:
        place = files.named(listing.file)
        if place is None:
            raise BadInputError(f"{raw}: {listing.file} not found; fetch {entry.name} again")
        stems = rating_tables.read_listing(
            raw / place, listing.image, listing.column, listing.value
        )
        kept |= {
            path
            for path in files.images()
            if matches_any(path, (f"{listing.folder}/*",))
            and PurePosixPath(path.lower()).stem in stems
        }
    return sorted(kept)


def _header(entry: DatasetEntry, listed: int, indexed: int) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "listed": listed,
        "indexed": indexed,
        "published": entry.published or entry.images or listed,
        "note": entry.note,
    }


def _ratings_header(ratings: RatingsSpec, proxy: bool) -> dict[str, Any]:
    assert ratings.low is not None and ratings.high is not None
    turned = f"{ratings.low + ratings.high:g} - {ratings.measure}"
    return {
        "measure": ratings.measure,
        "proxy": proxy,
        "rating_low": ratings.low,
        "rating_high": ratings.high,
        "turned": "" if ratings.higher_is_better else turned,
    }


def _split_state(
    entry: DatasetEntry,
    raw: Path,
    official: rating_tables.OfficialSplit,
    listed: list[rating_tables.RatingRow],
    tolerant: bool,
) -> str:
    """Return the state of the official split; raise if a file of it is truncated."""
    if not entry.official:
        return "none published"
    if official.absent:
        return f"not usable, absent: {', '.join(official.absent)}"
    unassigned = sum(official.part_of(row.path) is None for row in listed)
    if unassigned <= entry.left_out:
        return "complete"
    names = ", ".join(part.file for part in entry.official)
    if tolerant:
        return f"not usable, cut off: {names}"
    raise BadInputError(
        f"{raw}: {names}: the official split is truncated ({unassigned:,} of {len(listed):,} "
        f"images have no part). Run: reiqa fetch --dataset {entry.name} --force"
    )


def _left_out(entry: DatasetEntry, rows: list[tuple[object, ...]]) -> dict[str, Any]:
    """Return the images that the official split omits, as header entries."""
    left = sorted(str(row[0]) for row in rows if not row[3])
    if not entry.official or not left:
        return {}
    return {"left_out": len(left), "left_out_first": left[:_EXAMPLES]}


def _group(entry: DatasetEntry, row: rating_tables.RatingRow) -> str:
    """Return the id of a row's reference, or "" if it has none."""
    if entry.folder:
        # Two folders of a user may contain references of one name.
        return row.reference
    return PurePosixPath(row.reference.lower()).stem


def _unreadable(raw: Path, paths: list[str]) -> dict[str, str]:
    """Return the images that cannot be read, and why."""
    sizes = _parallel(partial(_size, raw), paths, "verify")
    return {path: size for path, size in zip(paths, sizes, strict=True) if isinstance(size, str)}


def _measured(raw: Path, paths: list[str]) -> Iterator[tuple[str, tuple[int, int, str] | str]]:
    return zip(paths, _parallel(partial(_size_and_digest, raw), paths, "measure"), strict=True)


def _parallel(function: Callable[[str], Any], paths: list[str], label: str) -> Iterator[Any]:
    with ThreadPoolExecutor(min(16, 4 * devices.cpu_count())) as pool:
        yield from track(pool.map(function, paths), label, total=len(paths))


def _size(raw: Path, path: str) -> tuple[int, int] | str:
    """Return height and width of an image, or why it cannot be read."""
    from reiqa import images

    try:
        size = images.read_size(raw / path)
        images.check_complete(raw / path)
    except BadInputError as error:
        return str(error).removeprefix(f"{raw / path}: ")
    return size


def _size_and_digest(raw: Path, path: str) -> tuple[int, int, str] | str:
    size = _size(raw, path)
    if isinstance(size, str):
        return size
    return size[1], size[0], store.file_digest(raw / path)[:16]
