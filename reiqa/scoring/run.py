"""``reiqa score``: score images and write rows and maps."""

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
    """Score images and print or save a row for each.

    Args:
        paths: files, folders, patterns, or ``-`` for a list on standard input.
        bundle: name or folder of the bundle.
        form: output format; defaults to the suffix of ``out``, or a table.
        out: output file; images already in it are skipped.
        order: sort order; sorted rows are printed at the end, unsorted rows immediately.
        maps: folder for quality maps.
        recursive: search subfolders.
        threads: number of images in parallel; defaults to the number of processors.
        processor: device to compute on.

    Raises:
        BadInputError: the bundle or images do not exist, or ``out`` has other content.
        WorkFailedError: some images could not be scored; their rows contain the error.
    """
    form = form or _form(out)
    if out is not None and form == "table":
        raise BadInputError(f"--out {out}: a table cannot be saved; use --format csv or jsonl")
    if out is None and sys.stdout is None:
        raise BadInputError("score: standard output is closed; use --out FILE")
    items = find_images(paths, _standard_input() if "-" in paths else (), recursive)
    at_once = threads or cpu_count()
    with device(ComputeParams(device=processor, threads=1)) as chosen:
        scorer = Scorer.load(bundle, chosen)
        map_writer = _map_writer(scorer, maps, items)
        with RowFile(out, form) if out else nullcontext() as table:
            known = table.known if table else {}
            if map_writer:
                known = map_writer.already_drawn(known)
            rows = score_images(scorer, items, at_once, known, map_writer)
            failed = _deliver(rows, len(items), form, table, order)
    if failed:
        raise WorkFailedError(
            f"{failed} of {len(items)} images could not be scored; see the errors in their rows"
        )


def _standard_input() -> list[str]:
    if sys.stdin is None:
        raise BadInputError("-: standard input is closed; pipe a list of paths to it")
    return read_list(sys.stdin.buffer.read())


def _form(out: Path | None) -> RowFormat:
    if out is None:
        return "table"
    if out.suffix not in _FORMS:
        raise BadInputError(f"--out {out}: unknown suffix; use .csv or .jsonl, or pass --format")
    return _FORMS[out.suffix]


def _map_writer(
    scorer: Scorer, folder: Path | None, items: Sequence[ImageItem]
) -> "MapWriter | None":
    if folder is None:
        return None
    from reiqa.scoring.maps import MapWriter

    return MapWriter(scorer, folder, items)


def _deliver(
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
    table.finish(_sorted(saved, order))
    return sum(bool(record.error) for record in saved)


def _print_rows(rows: Iterable[Record], total: int, form: RowFormat, order: Order | None) -> int:
    # On a terminal the rows show the progress, and a progress bar would interrupt them.
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
        # The reader closed the pipe, as `head` does; avoid another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failed


def _sorted(records: Sequence[Record], order: Order | None) -> list[Record]:
    """Return sorted rows; when sorting by score, errors come last."""

    def key(record: Record) -> tuple[bool, float | str]:
        if order == "name":
            return False, record.image
        if record.score is None:
            return True, 0.0
        return False, record.score if order == "worst" else -record.score

    return sorted(records, key=key) if order else list(records)
