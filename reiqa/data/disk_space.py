"""Check and reserve disk space before writing."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reiqa.errors import WorkFailedError

#: Progress callback; receives the number of bytes transferred since the last call.
Advance = Callable[[int], object]


def require_space(folder: Path, needed: int) -> None:
    """Check free disk space before writing.

    Args:
        folder: a folder on the disk to check.
        needed: required space in bytes.

    Raises:
        WorkFailedError: there is not enough free space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorkFailedError(
            f"{folder}: not enough disk space ({_format_bytes(needed)} needed,"
            f" {_format_bytes(free)} free). Free disk space and rerun."
        )


def _format_bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 100_000_000 else f"{count / 1e6:,.1f} MB"


# Bytes that the transfers of this process still have to write.
_reserved: dict[object, int] = {}
_lock = threading.Lock()


@contextmanager
def reserve(folder: Path, needed: int) -> Iterator[Advance]:
    """Reserve disk space while the block runs; yields a callback for bytes written.

    Raises:
        WorkFailedError: there is not enough space in addition to the other reservations.
    """
    reservation = object()

    def written(count: int) -> None:
        with _lock:
            _reserved[reservation] -= min(count, _reserved[reservation])

    with _lock:
        require_space(folder, needed + sum(_reserved.values()))
        _reserved[reservation] = needed
    try:
        yield written
    finally:
        with _lock:
            del _reserved[reservation]
