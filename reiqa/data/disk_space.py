"""Room on the disk, asked for before it is needed."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reiqa.errors import WorkFailedError

#: Is told of bytes that came.
Advance = Callable[[int], object]


def require_space(folder: Path, needed: int) -> None:
    """Refuse, before a byte is written, what the disk cannot hold.

    Args:
        folder: on the disk in question.
        needed: bytes.

    Raises:
        WorkFailedError: fewer are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorkFailedError(
            f"{folder}: {_format_bytes(needed)} are needed, {_format_bytes(free)} are free;"
            " make room and run again"
        )


def _format_bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 100_000_000 else f"{count / 1e6:,.1f} MB"


class _Reservations:
    """What the transfers of this process have still to write: no two may count on one room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[object, int] = {}

    @contextmanager
    def held(self, folder: Path, needed: int) -> Iterator[Advance]:
        """Claim room for as long as the block lasts; gives what to tell of bytes written.

        Raises:
            WorkFailedError: the disk cannot hold them beside what others have claimed.
        """
        claim = object()

        def came(count: int) -> None:
            with self._lock:
                self._open[claim] -= min(count, self._open[claim])

        with self._lock:
            require_space(folder, needed + sum(self._open.values()))
            self._open[claim] = needed
        try:
            yield came
        finally:
            with self._lock:
                del self._open[claim]


held = _Reservations().held
