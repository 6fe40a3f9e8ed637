"""The files of local datasets, which stay where the user has them.

Nothing is copied, so the files may change at any time. Digests of their content are part of what
the receipt of a dataset depends on. They are kept in ``work/digests`` and computed again only for
files whose size, times or inode changed.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from reiqa import devices, store
from reiqa.errors import BadInputError
from reiqa.layout import IMAGE_SUFFIXES, is_hidden
from reiqa.progress import track


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the state of each file of a folder that is not hidden.

    Paths are relative to the folder, with slashes. Symlinks to folders are not followed.
    """
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as listing:
            for item in listing:
                if is_hidden(item.name):
                    continue
                path = f"{inside}/{item.name}" if inside else item.name
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif item.is_file():
                    yield path, item.stat()


def is_image(path: str) -> bool:
    """Return whether a file name has an image suffix."""
    name, _, suffix = path.rpartition(".")
    return bool(name) and f".{suffix.lower()}" in IMAGE_SUFFIXES


def count_images(folder: Path) -> int:
    """Return the number of images in a folder, 0 if it does not exist."""
    return sum(is_image(path) for path, _ in walk(folder)) if folder.is_dir() else 0


def content_digests(name: str, folder: Path, table: Path | None) -> dict[str, str | None]:
    """Return a digest of all images of a folder and their paths, and one of the rating table.

    Args:
        name: name of the dataset.
        folder: folder of the images.
        table: rating table; None for a corpus.

    Returns:
        ``images`` and, with a table, ``ratings``; None for what does not exist.
    """
    files: dict[Path, os.stat_result] = {}
    if folder.is_dir():
        files = {folder / path: state for path, state in walk(folder) if is_image(path)}
    images = sorted(files)
    if table is not None and table.is_file():
        files[table] = table.stat()
    digests = _file_digests(store.WORK / "digests" / f"{name}.json", files)
    lines = "".join(f"{digests[path]} {path.relative_to(folder)}\n" for path in images)
    listing = hashlib.sha256(os.fsencode(lines)).hexdigest() if folder.is_dir() else None
    return {"images": listing} | ({} if table is None else {"ratings": digests.get(table)})


def _file_digests(cache: Path, files: Mapping[Path, os.stat_result]) -> dict[Path, str]:
    """Return the SHA-256 of each file, and keep them in ``cache``."""
    known = _read_cache(cache)
    stamps = {path: _stamp(state) for path, state in files.items()}
    digests = {}
    for path, stamp in stamps.items():
        match known.get(str(path)):
            case [earlier, str(digest)] if earlier == stamp:
                digests[path] = digest
    changed = [path for path in files if path not in digests]
    if changed:
        with ThreadPoolExecutor(devices.cpu_count()) as pool:
            found = track(pool.map(store.file_digest, changed), f"read {cache.stem}", len(changed))
            digests |= zip(changed, found, strict=True)
    if changed or len(known) > len(files):
        store.write_json(cache, {str(path): [stamps[path], digests[path]] for path in files})
    return digests


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        tree = store.read_json(path)
    except BadInputError:
        tree = None
    # Without a valid cache, the digests are computed again.
    return tree if isinstance(tree, dict) else {}


def _stamp(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
