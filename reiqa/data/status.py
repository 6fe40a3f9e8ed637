"""The table of ``reiqa datasets``: state of each dataset and the next command to run."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reiqa import catalog, layout, local_files, text
from reiqa.catalog import DatasetEntry
from reiqa.data import receipts
from reiqa.data.index import read_header
from reiqa.errors import BadInputError


@dataclass(frozen=True)
class DatasetStatus:
    """Table row of one dataset.

    Attributes:
        name: name of the dataset.
        kind: ``rated`` or ``corpus``.
        title: display name.
        state: ``absent``, ``fetched``, ``indexed`` or ``indexed in part``.
        here: number of images on disk, 0 if absent.
        images: number of images that the index must hold.
        gigabytes: size on disk, or of the archives to download; None if unknown.
        ratings: kind, range and direction of the ratings; empty for a corpus.
        official_split: whether the authors published a split.
        proxy: ratings are a full-reference metric, not human opinion scores.
        registration: the authors ask users to register.
        licence: licence or terms of use.
        note: remarks for users.
        next: next command to run.
    """

    name: str
    kind: str
    title: str
    state: str
    here: int
    images: int
    gigabytes: float | None
    ratings: str
    official_split: bool
    proxy: bool
    registration: bool
    licence: str
    note: str
    next: str


def status_table() -> list[DatasetStatus]:
    """Return the state of each dataset of the catalog in the current folder.

    Raises:
        BadInputError: a receipt is damaged.
    """
    return [_status(entry) for entry in catalog.load_catalog().values()]


def as_json(rows: Sequence[DatasetStatus]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


def as_text(rows: Sequence[DatasetStatus]) -> str:
    """Return the rows as an aligned text table."""
    heads = ("set", "kind", "state", "images", "GB", "ratings", "licence", "next")
    cells = [
        (
            row.name,
            row.kind,
            row.state,
            f"{row.here:,}/{row.images:,}" if row.here else f"{row.images:,}",
            "" if row.gigabytes is None else f"{row.gigabytes:.3g}",
            row.ratings,
            row.licence if len(row.licence) <= 34 else row.licence[:33] + "…",
            row.next,
        )
        for row in rows
    ]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([text.align_columns(heads, cells), "", *notes])


def _status(entry: DatasetEntry) -> DatasetStatus:
    path = layout.receipt(entry.name)
    receipt = receipts.read_receipt(path) if path.exists() else {}
    # A local dataset is here without a receipt, and its number of images may have changed.
    if entry.folder:
        here = local_files.count_images(Path(entry.folder))
    else:
        here = receipt.get("images", 0)
    state, next_command = _state(entry, bool(receipt or (entry.folder and here)))
    return DatasetStatus(
        name=entry.name,
        kind=entry.kind,
        title=entry.title,
        state=state,
        here=here,
        images=entry.count_images(),
        gigabytes=receipt["bytes"] / 1e9 if receipt else entry.gigabytes,
        ratings=_ratings(entry),
        official_split=bool(entry.official),
        proxy=entry.proxy,
        registration=entry.registration,
        licence=entry.licence,
        note=entry.note,
        next=next_command,
    )


def _state(entry: DatasetEntry, fetched: bool) -> tuple[str, str]:
    if not fetched:
        by_hand = " --mirror DIR" if entry.steps and not entry.parts else ""
        return "absent", f"reiqa fetch --dataset {entry.name}{by_hand}"
    try:
        header = read_header(layout.index(entry.name))
    except BadInputError:
        return "fetched", f"reiqa index --dataset {entry.name}"
    state = "indexed in part" if header["missing"] or header["unreadable"] else "indexed"
    if entry.kind == "rated":
        return state, f"reiqa features --dataset {entry.name}"
    return state, f"reiqa chunks --corpus {entry.name}"


def _ratings(entry: DatasetEntry) -> str:
    if entry.ratings is None:
        return ""
    kind = "proxy " if entry.proxy else ""
    direction = (
        "" if entry.ratings.higher_is_better else ", lower is better (inverted in the index)"
    )
    ends = [end for end in (entry.ratings.low, entry.ratings.high) if end is not None]
    scale = f" {'-'.join(f'{end:g}' for end in ends)}" if len(ends) == 2 else ""
    return f"{kind}{entry.ratings.measure}{scale}{direction}"
