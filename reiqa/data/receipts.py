"""What is written down of fetched sets: receipts, and the digests of files at first sight."""

import threading
from pathlib import Path
from typing import Any

from reiqa import store
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError

#: Digests of files at first sight, by ``set/file``.
DIGESTS = Path("data/digests.json")

ReceiptTree = dict[str, Any]

_RECORDING = threading.Lock()


def folder_contents(folder: Path) -> ReceiptTree:
    """Return how many images and bytes a folder holds."""
    files = ImageFiles.under(folder)
    return {"images": len(files.images()), "bytes": sum(files.sizes.values())}


def read_receipt(path: Path) -> ReceiptTree:
    """Return what a receipt says.

    Raises:
        BadInputError: it is missing or is no receipt.
    """
    told = store.read_json(path)
    if not (isinstance(told, dict) and {"images", "bytes"} <= told.keys()):
        raise BadInputError(f"{path}: not a receipt; delete it and run again")
    return told


def valid_receipt(record: Path, raw: Path) -> ReceiptTree | None:
    """Return what a receipt says if it is one and the folder is still as it says."""
    try:
        told = read_receipt(record)
    except BadInputError:
        return None
    return told if raw.is_dir() and folder_contents(raw).items() <= told.items() else None


def known_digest(name: str, file: str) -> str:
    """Return the digest that a set's file had at first sight; empty if it was never seen.

    Raises:
        BadInputError: the table of digests is broken.
    """
    return str(_digests().get(f"{name}/{file}", {}).get("sha256", ""))


def save_digest(name: str, file: str, digest: str, size: int) -> None:
    """Make a file of a set the measure of every later one of its name, unless there is one."""
    # The lock between processes says when it waits, which threads of one need not hear.
    with _RECORDING, store.locked(DIGESTS):
        store.remove_partials(DIGESTS)
        known = _digests()
        told = {"sha256": digest, "bytes": size}
        if known.setdefault(f"{name}/{file}", told) == told:
            store.write_json(DIGESTS, known)


def _digests() -> dict[str, ReceiptTree]:
    known = store.read_json(DIGESTS) if DIGESTS.exists() else {}
    if not (isinstance(known, dict) and all(isinstance(told, dict) for told in known.values())):
        raise BadInputError(f"{DIGESTS}: not a table of digests; delete it and run again")
    return known
