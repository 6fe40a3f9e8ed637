"""``reiqa score``: from a command line to rows and maps."""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reiqa.devices import cpu_count, device
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ComputeParams
from reiqa.progress import track
from reiqa.scoring.find_images import ImageItem, find_images, read_list
from reiqa.scoring.output import RowFile
from reiqa.scoring.pipeline import score_images
from reiqa.scoring.record import Record, RowFormat, format_header, format_row
from reiqa.scoring.scorer import Scorer

if TYPE_CHECKING:
    from reiqa.scoring.maps import MapWriter

Order = Literal["worst", "best", "name"]
Device = Literal["auto", "cpu", "cuda"]

_FORMS: dict[str, RowFormat] = {".csv": "csv", ".jsonl": "jsonl"}


def score_paths(
    paths: Sequence[str],
    bundle: str = "lite",
    form: RowFormat | None = None,
    out: Path | None = None,
    order: Order | None = None,
    maps: Path | None = None,
    recursive: bool = True,
    threads: int | None = None,
    processor: Device = "cpu",
) -> None:
    """Score what the paths name and print or keep a row for each.

    Args:
        paths: files, folders, patterns, or ``-`` for a list on standard input.
        bundle: name or folder.
        form: of the rows; by the suffix of ``out`` if not given, else a table.
        out: file to keep them in; rows already there are not made again.
        order: sort the rows, which then come at the end; unsorted they come as they are made.
        maps: folder for a picture of where each image is bad.
        recursive: look into the folders of a folder.
        threads: images at a time; one for each processor if not given.
        processor: where to compute.

    Raises:
        BadInputError: there is no such bundle, no image, or ``out`` holds something else.
        WorkFailedError: some images could not be scored; their rows say why.
    """
    form = form or _form(out)
    if out is not None and form == "table":
        raise BadInputError(f"--out {out}: keeps csv or jsonl; a table is for reading")
    if out is None and sys.stdout is None:
        raise BadInputError("score: standard output is closed; keep the rows with --out FILE")
    items = find_images(paths, _standard_input() if "-" in paths else (), recursive)
    at_once = threads or cpu_count()
    with device(ComputeParams(device=processor, threads=1)) as chosen:
        scorer = Scorer.load(bundle, chosen)
        mapper = _mapper(scorer, maps, items)
        with RowFile(out, form) if out else nullcontext() as table:
            known = table.known if table else {}
            if mapper:
                known = mapper.already_drawn(known)
            rows = score_images(scorer, items, at_once, known, mapper)
            failed = _deliver(rows, len(items), form, table, order)
    if failed:
        raise WorkFailedError(
            f"{failed} of {len(items)} images could not be scored; their rows say why"
        )


def _standard_input() -> list[str]:
    if sys.stdin is None:
        raise BadInputError("-: standard input is closed; give it a list of paths")
    return read_list(sys.stdin.buffer.read())


def _form(out: Path | None) -> RowFormat:
    if out is None:
        return "table"
    if out.suffix not in _FORMS:
        raise BadInputError(f"--out {out}: end it in .csv or .jsonl, or say --format")
    return _FORMS[out.suffix]


def _mapper(scorer: Scorer, folder: Path | None, items: Sequence[ImageItem]) -> "MapWriter | None":
    if folder is None:
        return None
    from reiqa.scoring.maps import MapWriter

    return MapWriter(scorer, folder, items)


def _deliver(
    rows: Iterable[Record], total: int, form: RowFormat, table: RowFile | None, order: Order | None
) -> int:
    """Hand over the rows; return how many hold an error."""
    if table:
        return _keep(rows, total, table, order)
    return _print(rows, total, form, order)


def _keep(rows: Iterable[Record], total: int, table: RowFile, order: Order | None) -> int:
    made = []
    for record in track(rows, "score", total):
        table.add(record)
        made.append(record)
    table.finish(_sorted(made, order))
    return sum(bool(record.error) for record in made)


def _print(rows: Iterable[Record], total: int, form: RowFormat, order: Order | None) -> int:
    # On a terminal the rows themselves show how far it is, and a bar would break into them.
    if order or not sys.stdout.isatty():
        rows = track(rows, "score", total)
    failed = 0
    try:
        if first := format_header(form):
            print(first)
        for record in _sorted(list(rows), order) if order else rows:
            failed += bool(record.error)
            print(format_row(record, form), flush=True)
    except BrokenPipeError:
        # The reader has seen enough, as `head` does; nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failed


def _sorted(records: Sequence[Record], order: Order | None) -> list[Record]:
    """Return rows in an order, errors last where it is one of scores."""

    def key(record: Record) -> tuple[bool, float | str]:
        if order == "name":
            return False, record.image
        if record.score is None:
            return True, 0.0
        return False, record.score if order == "worst" else -record.score

    return sorted(records, key=key) if order else list(records)
