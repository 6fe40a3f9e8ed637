"""The table of ``reiqa datasets``: what is here, what is not, and what to type next."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from reiqa import catalog, layout, text
from reiqa.catalog import DatasetEntry
from reiqa.data import receipts
from reiqa.data.index import read_header
from reiqa.errors import BadInputError


@dataclass(frozen=True)
class DatasetStatus:
    """One set, as a row.

    Attributes:
        name: of the set.
        kind: ``rated`` or ``corpus``.
        title: its title.
        state: ``absent``, ``fetched``, ``indexed`` or ``indexed in part``.
        here: images in its folder, 0 if absent.
        images: images that its index must hold.
        gigabytes: of its files here, or of the archives to come; None if unknown.
        ratings: what the ratings are, their range and direction; empty for a corpus.
        official_split: whether its makers published a split.
        proxy: ratings are a full-reference measure, not people's.
        registration: its makers want to know who takes it.
        licence: under which terms.
        note: what one must know.
        next: what to type, or to do, next.
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
    """Return a row for each set of the catalog, as the current folder has it.

    Raises:
        BadInputError: a receipt is damaged.
    """
    return [_status(entry) for entry in catalog.load_catalog().values()]


def as_json(rows: Sequence[DatasetStatus]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


def as_text(rows: Sequence[DatasetStatus]) -> str:
    """Return the rows as an aligned table for people."""
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
    receipt = layout.receipt(entry.name)
    told = receipts.read_receipt(receipt) if receipt.exists() else {}
    state, following = _state(entry, bool(told))
    return DatasetStatus(
        name=entry.name,
        kind=entry.kind,
        title=entry.title,
        state=state,
        here=told.get("images", 0),
        images=entry.images,
        gigabytes=told["bytes"] / 1e9 if told else entry.gigabytes,
        ratings=_ratings(entry),
        official_split=entry.has_official_split,
        proxy=entry.proxy,
        registration=entry.registration,
        licence=entry.licence,
        note=entry.note,
        next=following,
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
    direction = "" if entry.ratings.higher_is_better else ", lower is better (turned in the index)"
    return f"{kind}{entry.ratings.measure} {entry.ratings.low:g}-{entry.ratings.high:g}{direction}"
