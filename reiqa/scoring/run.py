"""``reiqa score``: score images and write rows, maps and a contact sheet."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from reiqa import devices, extras
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ComputeParams
from reiqa.scoring.bundle import load_bundle
from reiqa.scoring.contact_sheet import ContactSheet, page_title
from reiqa.scoring.find_images import ImageItem, find_images, read_list
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.maps import MapWriter
from reiqa.scoring.output import Order, RowFile, RowFormat, write_rows
from reiqa.scoring.pipeline import PreviewCallback, score_images
from reiqa.scoring.scorer import Scorer
from reiqa.scoring.size_check import SizeCheck

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
    page: Path | None = None,
    resize: int | None = None,
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
        page: HTML file for a contact sheet: thumbnails with scores, and with maps if drawn.
        resize: length to which the shorter side of larger images is scaled down.

    Raises:
        BadInputError: the bundle or images do not exist, or ``out`` or ``page`` has other content
            or is not writable.
        WorkFailedError: some images could not be scored; their rows contain the error.
    """
    form = form or _form(out)
    if out is not None and form in ("table", "json"):
        raise BadInputError(f"--out {out}: cannot be resumed as {form}; use --format csv or jsonl")
    if out is None and sys.stdout is None:
        raise BadInputError("score: standard output is closed; use --out FILE")
    if out is not None and page is not None and os.path.realpath(out) == os.path.realpath(page):
        raise BadInputError(f"{page}: is given for --out and for --html; choose two files")
    items = find_images(paths, _standard_input() if "-" in paths else (), recursive)
    at_once = threads or devices.cpu_count()
    with ExitStack() as stack:
        sheet = stack.enter_context(ContactSheet(page, items)) if page else None
        chosen = stack.enter_context(_device(processor))
        # Without experts: a run whose rows all exist needs none.
        scorer = Scorer(load_bundle(bundle), chosen, resize, lazy=True)
        map_writer = MapWriter(scorer, maps, items) if maps else None
        table = stack.enter_context(RowFile(out, form)) if out else None
        known = table.known if table else {}
        if map_writer:
            known = map_writer.already_drawn(known)
        preview = _preview(sheet, map_writer) if sheet else None
        rows = score_images(scorer, items, at_once, known, map_writer, preview)
        sizes = SizeCheck(scorer.bundle.manifest.fitted.sides, scorer.resize)
        rows = sizes.watch(rows)
        if sheet:
            rows = sheet.keep(rows)
        failed = write_rows(rows, len(items), form, table, order)
        if sheet:
            # A reader that closes the pipe, as `head` does, ends the printing but not the page.
            for _ in rows:
                pass
            sheet.write(page_title(paths), order or "worst")
    sizes.report()
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
    with (
        extras.explain_missing(f"--device {processor}"),
        devices.device(ComputeParams(device=processor, threads=1), "--device") as chosen,
    ):
        yield str(chosen)


def _preview(sheet: ContactSheet, map_writer: MapWriter | None) -> PreviewCallback:
    def preview(item: ImageItem, prepared: PreparedImage) -> None:
        sheet.add(item, prepared.pixels(), map_writer.path(item) if map_writer else None)

    return preview


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
