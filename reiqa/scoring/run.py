"""``reiqa score``: score images and write rows and maps."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from reiqa import devices
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ComputeParams
from reiqa.scoring.find_images import find_images, read_list
from reiqa.scoring.output import Order, RowFile, RowFormat, write_rows
from reiqa.scoring.pipeline import score_images
from reiqa.scoring.scorer import Scorer

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
    at_once = threads or devices.cpu_count()
    with _device(processor) as chosen:
        scorer = Scorer.load(bundle, chosen)
        map_writer = None
        if maps is not None:
            from reiqa.scoring.maps import MapWriter

            map_writer = MapWriter(scorer, maps, items)
        with RowFile(out, form) if out else nullcontext() as table:
            known = table.known if table else {}
            if map_writer:
                known = map_writer.already_drawn(known)
            rows = score_images(scorer, items, at_once, known, map_writer)
            failed = write_rows(rows, len(items), form, table, order)
    if failed:
        raise WorkFailedError(
            f"{failed} of {len(items)} images could not be scored; see the errors in their rows"
        )


@contextmanager
def _device(processor: Device) -> Iterator[str]:
    """Lease a GPU if one is wanted, and yield the name of the device."""
    if processor == "cpu" or (processor == "auto" and find_spec("torch") is None):
        devices.keep_freed_memory()
        yield "cpu"
        return
    with devices.device(ComputeParams(device=processor, threads=1)) as chosen:
        yield str(chosen)


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
