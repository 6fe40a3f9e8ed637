"""Receipts of fetched datasets, and the digests of their downloaded files."""

import threading
from pathlib import Path
from typing import Any

from reiqa import store
from reiqa.catalog import PROJECT_FILE, DatasetEntry
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError

#: Digests recorded at the first download, by ``dataset/file``.
DIGESTS = Path("data/digests.json")

ReceiptTree = dict[str, Any]

_RECORDING = threading.Lock()


def folder_contents(folder: Path) -> ReceiptTree:
    """Return the number of images and bytes in a folder."""
    files = ImageFiles.under(folder)
    return {"images": len(files.images()), "bytes": sum(files.sizes.values())}


def require_folder(entry: DatasetEntry) -> None:
    """Check that the folder of a local dataset can be read.

    Raises:
        BadInputError: it does not exist, or contains the project.
    """
    folder = Path(entry.folder)
    if not folder.is_dir():
        raise BadInputError(
            f"{entry.name}: {folder}: no such folder; correct folder in {PROJECT_FILE}, which is"
            " relative to the project folder"
        )
    if Path.cwd().is_relative_to(folder.resolve()):
        raise BadInputError(
            f"{entry.name}: {folder}: contains the project folder; move the images into a folder of"
            " their own"
        )


def local_contents(entry: DatasetEntry) -> ReceiptTree:
    """Return the number of images in the folder of a local dataset, and their bytes."""
    files = ImageFiles.under(Path(entry.folder))
    images = files.images()
    return {"images": len(images), "bytes": sum(files.sizes[image] for image in images)}


def read_receipt(path: Path) -> ReceiptTree:
    """Read a receipt.

    Raises:
        BadInputError: the file is missing or not a receipt.
    """
    receipt = store.read_json(path)
    if not (isinstance(receipt, dict) and {"images", "bytes"} <= receipt.keys()):
        raise BadInputError(f"{path}: not a valid receipt. Delete it and rerun.")
    return receipt


def valid_receipt(record: Path, raw: Path) -> ReceiptTree | None:
    """Return a receipt if it is valid and still matches the folder, else None."""
    try:
        receipt = read_receipt(record)
    except BadInputError:
        return None
    return receipt if raw.is_dir() and folder_contents(raw).items() <= receipt.items() else None


def known_digest(name: str, file: str) -> str:
    """Return the digest recorded for a file of a dataset, or "" if none is recorded.

    Raises:
        BadInputError: the table of digests is invalid.
    """
    return str(_digests().get(f"{name}/{file}", {}).get("sha256", ""))


def save_digest(name: str, file: str, digest: str, size: int) -> None:
    """Record the digest of a file, to verify later downloads, unless one is recorded."""
    # The process lock logs when it waits. The thread lock avoids that message between threads.
    with _RECORDING, store.locked(DIGESTS):
        store.remove_partials(DIGESTS)
        known = _digests()
        receipt = {"sha256": digest, "bytes": size}
        if known.setdefault(f"{name}/{file}", receipt) == receipt:
            store.write_json(DIGESTS, known)


def _digests() -> dict[str, ReceiptTree]:
    known = store.read_json(DIGESTS) if DIGESTS.exists() else {}
    if not (
        isinstance(known, dict) and all(isinstance(receipt, dict) for receipt in known.values())
    ):
        raise BadInputError(f"{DIGESTS}: not a valid table of digests. Delete it and rerun.")
    return known
