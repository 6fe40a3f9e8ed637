"""Fetch a dataset into data/raw: copy it from a mirror, generate it, or download it.

The receipt ``data/raw/NAME.json`` is written last: if it exists, the dataset is complete.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reiqa import catalog, layout, store
from reiqa.catalog import DatasetEntry, Source, SourceFile
from reiqa.data import demo, disk_space, file_tree, receipts, sources
from reiqa.data.concurrency import run_each
from reiqa.data.image_files import ImageFiles
from reiqa.data.receipts import ReceiptTree
from reiqa.data.sources import RetryPolicy, SlowSourceError, SourceError
from reiqa.data.unpack import ArchiveError, is_archive, unpack
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.progress import log, progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm

#: Users put manually downloaded files here; the folder is searched like a mirror.
BY_HAND = store.WORK / "by-hand"

#: Number of datasets fetched in parallel, and of files per dataset.
AT_ONCE = 3
PIECES_AT_ONCE = 4


def fetch(
    name: str,
    mirror: Path | None = None,
    force: bool = False,
    patience: RetryPolicy | None = None,
) -> Path:
    """Fetch the files of a dataset into ``data/raw/NAME`` and write the receipt.

    The following are tried in order: an existing complete copy, files in ``work/by-hand``, the
    mirror, and the sources of the catalog. A local dataset stays where it is; only its receipt is
    written.

    Args:
        name: name of the dataset.
        mirror: a folder that may contain the archives or an unpacked copy of the dataset.
        force: fetch again even if the dataset is complete.
        patience: timeouts and retries.

    Returns:
        Path of the receipt.

    Raises:
        BadInputError: no such dataset; or manual steps are needed, which the log lists.
        WorkFailedError: every source failed, or the disk is full.
    """
    entry = catalog.get_entry(name)
    if entry.folder:
        return _write_local_receipt(entry)
    if mirror is not None and not mirror.is_dir():
        raise BadInputError(f"{mirror}: the mirror is not a folder")
    mirrors = [folder for folder in (BY_HAND, mirror) if folder is not None and folder.is_dir()]
    try:
        return _ensure_complete(entry, mirrors, force, patience or RetryPolicy())
    except OSError as error:
        if error.errno in store.DISK_FULL_ERRORS:
            raise WorkFailedError(f"{name}: {error.strerror}. Free disk space and rerun.") from None
        where = error.filename or "disk"
        raise WorkFailedError(f"{name}: {error.strerror or error}: {where}") from None


def is_complete(name: str) -> bool:
    """Return whether the files of a dataset match its receipt in number and total size."""
    raw, receipt = layout.raw(name), layout.receipt(name)
    if folder := catalog.get_entry(name).folder:
        return Path(folder).is_dir() and receipt.is_file()
    if catalog.get_entry(name).linked or not (raw.is_dir() and receipt.is_file()):
        return raw.is_dir()
    return receipts.valid_receipt(receipt, raw) is not None


def _write_local_receipt(entry: DatasetEntry) -> Path:
    receipts.require_folder(entry)
    receipt = layout.receipt(entry.name)
    content = {**_about(entry), "origin": "local", **receipts.local_contents(entry)}
    store.write_json(receipt, content)
    return receipt


def _about(entry: DatasetEntry) -> ReceiptTree:
    return {
        "name": entry.name,
        "title": entry.title,
        "expected_images": entry.images,
        "catalog": entry.facts("fetch"),
    }


def _ensure_complete(
    entry: DatasetEntry, mirrors: list[Path], force: bool, patience: RetryPolicy
) -> Path:
    """Fetch ``data/raw/NAME`` unless it is complete, and write its receipt."""
    raw, receipt = layout.raw(entry.name), layout.receipt(entry.name)
    # Workflow engines delete an output before they rerun its job, so a copy is kept elsewhere.
    receipt_copy = store.WORK / "fetched" / f"{entry.name}.json"
    with store.locked(raw):
        store.remove_partials(receipt_copy)
        # Generated datasets are always regenerated, as they depend on the distortion bank.
        for record in () if force or entry.made_by else (receipt_copy, receipt):
            content = receipts.valid_receipt(record, raw)
            if content and content.get("catalog") == entry.facts("fetch"):
                store.write_json(receipt, content)
                return receipt
        receipt_copy.unlink(missing_ok=True)
        work = store.WORK / "unpack" / entry.name
        file_tree.remove_tree(work)
        staging = work / "staging"
        staging.mkdir(parents=True)
        try:
            origin = _origin(entry, mirrors, staging, force, patience)
        except Exception:
            # An incomplete dataset is useless, and the disk may be full.
            file_tree.remove_tree(work)
            raise
        # No receipt may exist while the folder is replaced.
        receipt.unlink(missing_ok=True)
        file_tree.remove_tree(raw)
        raw.parent.mkdir(parents=True, exist_ok=True)
        if "linked" in origin:
            raw.symlink_to(origin.pop("linked"))
        else:
            staging.replace(raw)
        file_tree.remove_tree(work)
        content = {**_about(entry), **origin, **receipts.folder_contents(raw)}
        for record in (receipt_copy, receipt):
            store.write_json(record, content)
        # Downloads are kept until here, so that a failure does not discard complete archives.
        for source in (source for piece in entry.parts for source in piece.sources):
            sources.discard(source)
        return receipt


def _origin(
    entry: DatasetEntry, mirrors: list[Path], staging: Path, force: bool, patience: RetryPolicy
) -> ReceiptTree:
    """Fill ``staging`` from the first available origin and return the origin."""
    if entry.made_by == "demo":
        return {"origin": "made here", **demo.make_demo(entry.name, staging)}
    if entry.shares:
        owner = catalog.get_entry(entry.shares)
        if owner.folder:
            receipts.require_folder(owner)
        else:
            _ensure_complete(owner, mirrors, force, patience)
        source = layout.image_folder(entry.shares)
        if entry.made_by:
            # Imported here because it imports torch.
            from reiqa.data import degraded

            assert entry.references is not None
            made = degraded.make_degraded(source, entry.types, entry.references, staging)
            return {"origin": f"made here of {entry.shares}", **made}
        # A link to a user's file would change with it, or write-protect it in DVC's cache.
        file_tree.copy_tree(source, staging, shutil.copyfile if owner.folder else os.link)
        return {"origin": f"shared with {entry.shares}"}
    for folder in mirrors:
        for found in _unpacked(entry, folder):
            if entry.linked:
                return {"origin": "linked from a mirror", "linked": found.resolve()}
            disk_space.require_space(staging, receipts.folder_contents(found)["bytes"])
            file_tree.copy_tree(found, staging, shutil.copyfile)
            missing = _missing_files(entry, staging)
            files = _download_pieces(entry, missing, mirrors, staging, patience, needed=False)
            return {"origin": "copied from a mirror", "files": files}
    if not entry.parts:
        raise BadInputError(f"{entry.name}: no automatic download. Get it {_print_steps(entry)}")
    return {
        "origin": "unpacked",
        "files": _download_pieces(entry, entry.parts, mirrors, staging, patience, needed=True),
    }


def _print_steps(entry: DatasetEntry) -> str:
    """Log the manual steps and return an instruction on where to put the result."""
    for number, step in enumerate(entry.steps, 1):
        log(f"{number}. {step}")
    return (
        f"with the steps above, put it at {BY_HAND / (entry.folders or (entry.name,))[0]} "
        f"(or pass a mirror with --mirror) and run: reiqa fetch --dataset {entry.name}"
    )


def _unpacked(entry: DatasetEntry, mirror: Path) -> list[Path]:
    """Return the unpacked copy of the dataset in a mirror, if there is no archive of it."""
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


def _missing_files(entry: DatasetEntry, folder: Path) -> tuple[SourceFile, ...]:
    """Return the files, other than archives, that a copied folder does not contain."""
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
    """Download files in parallel and move them into ``staging`` in catalog order."""
    pieces = list(pieces)
    if not pieces:
        return []
    total = round(entry.gigabytes * 1000) if entry.gigabytes and needed else None
    with progress_bar(f"fetch {entry.name}", total, "MB") as bar:
        work = _DownloadJob(entry, mirrors, staging, patience, bar)
        try:
            jobs = run_each(
                lambda number: work.piece(number, pieces[number]),
                range(len(pieces)),
                PIECES_AT_ONCE,
            )
        except BaseException:
            work.stop()
            raise
        downloaded = []
        for number, job in enumerate(jobs):
            try:
                downloaded.append(job.result())
            except WorkFailedError as error:
                if needed:
                    raise
                log(f"{error} Continuing without it.")
                file_tree.remove_tree(work.folder(number))
    for number, piece in enumerate(pieces):
        file_tree.merge_tree(work.folder(number), staging / piece.into)
    return downloaded


class _DownloadJob:
    """Downloads the files of one dataset; its methods are thread-safe."""

    def __init__(
        self,
        entry: DatasetEntry,
        mirrors: list[Path],
        staging: Path,
        patience: RetryPolicy,
        bar: "tqdm[None]",
    ) -> None:
        self._entry, self._mirrors, self._patience = entry, mirrors, patience
        self._staging, self._bar = staging, bar
        self._lock, self._pending_bytes, self._stopped = threading.Lock(), 0, False

    def stop(self) -> None:
        """Stop every thread at its next progress update."""
        self._stopped = True

    def folder(self, number: int) -> Path:
        """Return the folder where a file is unpacked before the files are merged."""
        return self._staging.with_name(str(number))

    def piece(self, number: int, piece: SourceFile) -> ReceiptTree:
        """Get one file from the first location that provides it, and unpack it.

        Returns:
            Entry for the receipt: file, bytes, digest and source.

        Raises:
            WorkFailedError: every location failed.
        """
        reasons = [
            f"not in {mirror}"
            for mirror in self._mirrors
            if mirror != BY_HAND
            and not any(_in_mirror(self._entry, source, mirror) for source in piece.sources)
        ]
        for attempt in self._attempts(piece):
            try:
                return attempt(self.folder(number))
            except (SourceError, ArchiveError) as error:
                reasons.append(str(error))
                file_tree.remove_tree(self.folder(number))
        names = " or ".join(
            dict.fromkeys(sources.file_name(source) for source in piece.sources if source.readable)
        )
        remedy = f"Put {names} into {BY_HAND} and rerun."
        if self._entry.steps:
            remedy = f"Get it {_print_steps(self._entry)}"
        raise WorkFailedError(
            f"{self._entry.name}: download of {names} failed ({'; '.join(reasons)}). {remedy}"
        )

    def _attempts(self, piece: SourceFile) -> Iterable[Callable[[Path], ReceiptTree]]:
        readable = [source for source in piece.sources if source.readable]
        for mirror in self._mirrors:
            for source in readable:
                if found := _in_mirror(self._entry, source, mirror):
                    yield self._unpack_attempt(source, found, "a mirror")
        slow: list[Source] = []
        for place, source in enumerate(readable):
            yield self._download_attempt(source, slow, skip_slow=place < len(readable) - 1)
        for source in slow:
            yield self._download_attempt(source, [], skip_slow=False)

    def _download_attempt(
        self, source: Source, slow: list[Source], skip_slow: bool
    ) -> Callable[[Path], ReceiptTree]:
        def attempt(folder: Path) -> ReceiptTree:
            place = sources.host(source.url)
            try:
                path = sources.download(source, self._patience, skip_slow, self._advance)
            except SlowSourceError as error:
                slow.append(source)
                raise SourceError(f"{place}: {error}") from None
            except SourceError as error:
                raise SourceError(f"{place}: {error}") from None
            address, verified = sources.address(source.url), sources.verified_download(source)
            try:
                return self._unpack_attempt(source, path, address, verified)(folder)
            except (SourceError, ArchiveError) as error:
                sources.discard(source)
                raise SourceError(f"{place}: {error}") from None

        return attempt

    def _unpack_attempt(
        self, source: Source, path: Path, place: str, verified: bool = True
    ) -> Callable[[Path], ReceiptTree]:
        def attempt(folder: Path) -> ReceiptTree:
            name, size, digest = path.name, path.stat().st_size, store.file_digest(path)
            known = source.sha256 or receipts.known_digest(self._entry.name, name)
            if known and digest != known:
                key = f"{self._entry.name}/{name}"
                remedy = f"if the authors changed the file, remove {key} from {receipts.DIGESTS}"
                raise SourceError(
                    f"{name}: checksum mismatch (digest {digest[:12]}, expected {known[:12]}); "
                    + ("it is not the file in the catalog" if source.sha256 else remedy)
                )
            links = 0
            if is_archive(name):
                disk_space.require_space(self._staging, size)
                links = unpack(path, folder, self._unpack_progress(name))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
            # Later downloads are checked against this digest, so the file must be complete.
            if verified or is_archive(name):
                receipts.save_digest(self._entry.name, name, digest, size)
            content: ReceiptTree = {"file": name, "bytes": size, "sha256": digest, "source": place}
            if links:
                log(
                    f"{self._entry.name}: {name}: skipped {links:,} links, only files are extracted"
                )
                content["links_left_out"] = links
            return content

        return attempt

    def _unpack_progress(self, name: str) -> Callable[[int], None]:
        """Return a callback that shows the unpacking progress in the progress bar."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            self._check_stopped()
            done += count
            self._bar.set_postfix_str(f"unpacking {name}: {done / 1e6:,.0f} MB", refresh=False)
            self._bar.update(0)

        return advance

    def _check_stopped(self) -> None:
        if self._stopped:
            raise WorkFailedError(f"{self._entry.name}: interrupted")

    def _advance(self, count: int) -> None:
        self._check_stopped()
        with self._lock:
            megabytes, self._pending_bytes = divmod(self._pending_bytes + count, 1_000_000)
            if megabytes:
                self._bar.update(megabytes)
