"""From a name to the set's files in data/raw: found in a mirror, made here, or downloaded.

The receipt ``data/raw/NAME.json`` is written last: where it stands, the set is whole.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reiqa import layout, store
from reiqa.data import catalog, demo, disk_space, file_tree, receipts, sources
from reiqa.data.catalog import DatasetEntry, Source, SourceFile
from reiqa.data.concurrency import run_each
from reiqa.data.image_files import ImageFiles
from reiqa.data.receipts import ReceiptTree
from reiqa.data.sources import RetryPolicy, SlowSourceError, SourceError
from reiqa.data.unpack import ArchiveError, is_archive, unpack
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.progress import log, progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

#: Files that a person puts here are found as in a mirror.
BY_HAND = store.WORK / "by-hand"

#: Sets that are brought at once, and pieces of one set.
AT_ONCE = 3
PIECES_AT_ONCE = 4


def fetch(
    name: str,
    mirror: Path | None = None,
    force: bool = False,
    patience: RetryPolicy | None = None,
) -> Path:
    """Bring a set's files to ``data/raw/NAME`` and write the receipt.

    Tried in this order: what is already whole here, what a person put into ``work/by-hand``, the
    mirror, and the catalog's sources one after the other.

    Args:
        name: of the set.
        mirror: a folder that may hold the set's archive or its unpacked folder.
        force: bring it again even if it is whole.
        patience: when a source is given up.

    Returns:
        Path of the receipt.

    Raises:
        BadInputError: no such set; or a person has to act first, and is told how.
        WorkFailedError: no source gave it, or the disk is full.
    """
    entry = catalog.get_entry(name)
    if mirror is not None and not mirror.is_dir():
        raise BadInputError(f"{mirror}: the mirror is no folder")
    mirrors = [folder for folder in (BY_HAND, mirror) if folder is not None and folder.is_dir()]
    try:
        return _ensure_complete(entry, mirrors, force, patience or RetryPolicy())
    except OSError as error:
        if error.errno in store.DISK_FULL_ERRORS:
            raise WorkFailedError(f"{name}: {error.strerror}; make room and run again") from None
        where = error.filename or "disk"
        raise WorkFailedError(f"{name}: {error.strerror or error}: {where}") from None


def is_complete(name: str) -> bool:
    """Say whether what the receipt of a set vouches for is still there, by number and size."""
    raw, receipt = layout.raw(name), layout.receipt(name)
    if catalog.get_entry(name).linked or not (raw.is_dir() and receipt.is_file()):
        return raw.is_dir()
    return receipts.valid_receipt(receipt, raw) is not None


def _ensure_complete(
    entry: DatasetEntry, mirrors: list[Path], force: bool, patience: RetryPolicy
) -> Path:
    """Make ``data/raw/NAME`` whole and write its receipt."""
    raw, receipt = layout.raw(entry.name), layout.receipt(entry.name)
    # An engine deletes receipts before it asks for them; the mark outlives that.
    mark = store.WORK / "fetched" / f"{entry.name}.json"
    with store.locked(raw):
        store.remove_partials(mark)
        # What is made here is made anew: it depends on the bank, not on an archive.
        for record in () if force or entry.made_by else (mark, receipt):
            told = receipts.valid_receipt(record, raw)
            if told and told.get("catalog") == entry.facts("fetch"):
                store.write_json(receipt, told)
                return receipt
        mark.unlink(missing_ok=True)
        work = store.WORK / "unpack" / entry.name
        file_tree.remove_tree(work)
        staging = work / "whole"
        staging.mkdir(parents=True)
        try:
            origin = _origin(entry, mirrors, staging, force, patience)
        except Exception:
            # On a full disk above all, nobody is helped by half a set.
            file_tree.remove_tree(work)
            raise
        # A receipt vouches for what stands: none may while the folder is exchanged.
        receipt.unlink(missing_ok=True)
        file_tree.remove_tree(raw)
        raw.parent.mkdir(parents=True, exist_ok=True)
        if "linked" in origin:
            raw.symlink_to(origin.pop("linked"))
        else:
            staging.replace(raw)
        file_tree.remove_tree(work)
        about = {
            "name": entry.name,
            "title": entry.title,
            "expected_images": entry.images,
            "catalog": entry.facts("fetch"),
        }
        told = {**about, **origin, **receipts.folder_contents(raw)}
        for record in (mark, receipt):
            store.write_json(record, told)
        # Kept until here: a set of several archives that fails at the last is not brought anew.
        for source in (source for piece in entry.parts for source in piece.sources):
            sources.discard(source)
        return receipt


def _origin(
    entry: DatasetEntry, mirrors: list[Path], staging: Path, force: bool, patience: RetryPolicy
) -> ReceiptTree:
    """Fill ``staging`` from the first place that has the set, and say which."""
    if entry.made_by == "demo":
        return {"origin": "made here", **demo.make_demo(entry.name, staging)}
    if entry.shares:
        _ensure_complete(catalog.get_entry(entry.shares), mirrors, force, patience)
        if entry.made_by:
            # Late: it takes torch, which nothing else here does.
            from reiqa.data import degraded

            made = degraded.make_degraded(layout.raw(entry.shares), entry.images, staging)
            return {"origin": f"made here of {entry.shares}", **made}
        file_tree.copy_tree(layout.raw(entry.shares), staging, os.link)
        return {"origin": f"shared with {entry.shares}"}
    for folder in mirrors:
        for found in _unpacked(entry, folder):
            if entry.linked:
                return {"origin": "linked from a mirror", "linked": found.resolve()}
            disk_space.require_space(staging, receipts.folder_contents(found)["bytes"])
            file_tree.copy_tree(found, staging, shutil.copyfile)
            lacking = _lacking(entry, staging)
            files = _download_pieces(entry, lacking, mirrors, staging, patience, needed=False)
            return {"origin": "copied from a mirror", "files": files}
    if not entry.parts:
        raise BadInputError(f"{entry.name}: a person has to get it, {_print_steps(entry)}")
    return {
        "origin": "unpacked",
        "files": _download_pieces(entry, entry.parts, mirrors, staging, patience, needed=True),
    }


def _print_steps(entry: DatasetEntry) -> str:
    """Print what a person has to do, and return where to put what comes of it."""
    for number, step in enumerate(entry.steps, 1):
        log(f"{number}. {step}")
    return (
        f"by the steps above; put it at {BY_HAND / (entry.folders or (entry.name,))[0]} "
        f"(or name a mirror with --mirror) and run: reiqa fetch --dataset {entry.name}"
    )


def _unpacked(entry: DatasetEntry, mirror: Path) -> list[Path]:
    """Return the mirror's folders that hold the set unpacked, archives coming before them."""
    if any(_in_mirror(entry, piece.sources[0], mirror) for piece in entry.parts[:1]):
        return []
    candidates = [mirror / folder for folder in entry.folders]
    return [path for path in candidates if path.is_dir() and ImageFiles.under(path).images()][:1]


def _in_mirror(entry: DatasetEntry, source: Source, mirror: Path) -> Path | None:
    name = sources.file_name(source)
    for folder in (mirror, *(mirror / inner for inner in (entry.name, *entry.folders))):
        if (folder / name).is_file():
            return folder / name
    return None


def _lacking(entry: DatasetEntry, folder: Path) -> tuple[SourceFile, ...]:
    """Return the plain files of a set that a copied folder does not hold."""
    files = ImageFiles.under(folder)
    return tuple(
        piece
        for piece in entry.parts
        if not any(
            is_archive(sources.file_name(source)) or files.named(sources.file_name(source))
            for source in piece.sources
        )
    )


def _download_pieces(
    entry: DatasetEntry,
    pieces: Iterable[SourceFile],
    mirrors: list[Path],
    staging: Path,
    patience: RetryPolicy,
    needed: bool,
) -> list[ReceiptTree]:
    """Bring pieces, several at once, and put them into ``staging`` in the catalog's order."""
    pieces = list(pieces)
    if not pieces:
        return []
    total = round(entry.gigabytes * 1000) if entry.gigabytes and needed else None
    with progress_bar(f"fetch {entry.name}", total, "MB") as shown:
        work = _DownloadJob(entry, mirrors, staging, patience, shown)
        try:
            jobs = run_each(
                lambda number: work.piece(number, pieces[number]),
                range(len(pieces)),
                PIECES_AT_ONCE,
            )
        except BaseException:
            work.stop()
            raise
        brought = []
        for number, job in enumerate(jobs):
            try:
                brought.append(job.result())
            except WorkFailedError as error:
                if needed:
                    raise
                log(f"{error}; going on without it")
                file_tree.remove_tree(work.folder(number))
    for number, piece in enumerate(pieces):
        file_tree.merge_tree(work.folder(number), staging / piece.into)
    return brought


class _DownloadJob:
    """Brings the pieces of one set; its methods may run in several threads."""

    def __init__(
        self,
        entry: DatasetEntry,
        mirrors: list[Path],
        staging: Path,
        patience: RetryPolicy,
        shown: "tqdm[None]",
    ) -> None:
        self._entry, self._mirrors, self._patience = entry, mirrors, patience
        self._staging, self._shown = staging, shown
        self._lock, self._spare, self._stopped = threading.Lock(), 0, False

    def stop(self) -> None:
        """Let every thread that still brings a piece end at its next byte."""
        self._stopped = True

    def folder(self, number: int) -> Path:
        """Return where a piece is unpacked before all are put together."""
        return self._staging.with_name(str(number))

    def piece(self, number: int, piece: SourceFile) -> ReceiptTree:
        """Bring one piece from the first place that gives it, and unpack it.

        Returns:
            What the receipt tells of it: file, bytes, digest and source.

        Raises:
            WorkFailedError: no place gives it.
        """
        faults = [
            f"not in {mirror}"
            for mirror in self._mirrors
            if mirror != BY_HAND
            and not any(_in_mirror(self._entry, source, mirror) for source in piece.sources)
        ]
        for attempt in self._attempts(piece):
            try:
                return attempt(self.folder(number))
            except (SourceError, ArchiveError) as error:
                faults.append(str(error))
                file_tree.remove_tree(self.folder(number))
        names = " or ".join(
            dict.fromkeys(sources.file_name(source) for source in piece.sources if source.readable)
        )
        own = f"Put a copy of your own into {BY_HAND} and run again"
        if self._entry.steps:
            own = f"A person can still get it, {_print_steps(self._entry)}"
        raise WorkFailedError(
            f"{self._entry.name}: no source gave {names}: {'; '.join(faults)}. {own}"
        )

    def _attempts(self, piece: SourceFile) -> Iterable[Callable[[Path], ReceiptTree]]:
        readable = [source for source in piece.sources if source.readable]
        for mirror in self._mirrors:
            for source in readable:
                if found := _in_mirror(self._entry, source, mirror):
                    yield self._unpacking(source, found, "a mirror")
        slow: list[Source] = []
        for place, source in enumerate(readable):
            yield self._downloading(source, slow, hurried=place < len(readable) - 1)
        for source in slow:
            yield self._downloading(source, [], hurried=False)

    def _downloading(
        self, source: Source, slow: list[Source], hurried: bool
    ) -> Callable[[Path], ReceiptTree]:
        def attempt(folder: Path) -> ReceiptTree:
            place = sources.host(source.url)
            try:
                path = sources.download(source, self._patience, hurried, self._advance)
            except SlowSourceError as error:
                slow.append(source)
                raise SourceError(f"{place}: {error}") from None
            except SourceError as error:
                raise SourceError(f"{place}: {error}") from None
            address, proven = sources.address(source.url), sources.verified_download(source)
            try:
                return self._unpacking(source, path, address, proven)(folder)
            except (SourceError, ArchiveError) as error:
                sources.discard(source)
                raise SourceError(f"{place}: {error}") from None

        return attempt

    def _unpacking(
        self, source: Source, path: Path, place: str, proven: bool = True
    ) -> Callable[[Path], ReceiptTree]:
        def attempt(folder: Path) -> ReceiptTree:
            name, size, digest = path.name, path.stat().st_size, store.file_digest(path)
            known = source.sha256 or receipts.known_digest(self._entry.name, name)
            if known and digest != known:
                key = f"{self._entry.name}/{name}"
                mend = f"if its makers changed it, take {key} out of {receipts.DIGESTS}"
                raise SourceError(
                    f"{name}: digest {digest[:12]} instead of {known[:12]}; "
                    + ("it is not the file that the catalog knows" if source.sha256 else mend)
                )
            links = 0
            if is_archive(name):
                disk_space.require_space(self._staging, size)
                links = unpack(path, folder, self._telling(name))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
            # Only what has proved to be whole becomes the measure of later ones.
            if proven or is_archive(name):
                receipts.save_digest(self._entry.name, name, digest, size)
            told: ReceiptTree = {"file": name, "bytes": size, "sha256": digest, "source": place}
            if links:
                log(f"{self._entry.name}: {name}: {links:,} links left out: only files are taken")
                told["links_left_out"] = links
            return told

        return attempt

    def _telling(self, name: str) -> Callable[[int], None]:
        """Return what shows how far an archive is unpacked, beside the bar of the transfer."""
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            self._go_on()
            done += count
            self._shown.set_postfix_str(f"unpacking {name}: {done / 1e6:,.0f} MB", refresh=False)
            self._shown.update(0)

        return tell

    def _go_on(self) -> None:
        if self._stopped:
            raise WorkFailedError(f"{self._entry.name}: interrupted")

    def _advance(self, count: int) -> None:
        self._go_on()
        with self._lock:
            megabytes, self._spare = divmod(self._spare + count, 1_000_000)
            if megabytes:
                self._shown.update(megabytes)
