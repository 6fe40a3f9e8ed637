"""Rows computed so far, kept outside the engine's outputs so that a killed run loses little.

A file holds fixed-length records, each with its own checksum, and only ever grows at its end:
what a kill leaves behind is whole records and at most one torn one, which is dropped. Rows are
known by the digest of the image, so they serve any dataset that holds the same file.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reiqa.features.cache import Column, Rows

_DIGEST_BYTES = 32


class RowStore:
    """Rows of one recipe: those of every job, and a file of this job's own to add to.

    One job at a time may hold a given ``name``; files of other names are only read.
    """

    def __init__(self, folder: Path, name: str, width: int) -> None:
        """Read what is there.

        Args:
            folder: holds the rows of one recipe and nothing else.
            name: of the job that will add rows.
            width: numbers in a row.
        """
        self._record = np.dtype(
            [
                ("digest", f"V{_DIGEST_BYTES}"),
                ("shrunk", "<f4"),
                ("values", "<f4", (width,)),
                ("check", "<u4"),
            ]
        )
        self._path = folder / f"{name}.rows"
        self._known: dict[str, tuple[Rows, float]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._drop_torn_end()
        for path in sorted(folder.glob("*.rows")):
            self._load(path)

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, digest: str) -> tuple[Rows, float]:
        """Return the row of an image ``(D,)`` and the factor it was scaled down by."""
        return self._known[digest]

    def add_known(self, digest: str, values: Rows, shrunk: float) -> None:
        """Take in a row that is kept elsewhere already."""
        self._known[digest] = (values, shrunk)

    def append(self, digests: Sequence[str], values: Rows, shrunk: Column) -> None:
        """Add rows and hand them to the system in one piece.

        Args:
            digests: of N images.
            values: ``(N, D)``.
            shrunk: ``(N,)``.
        """
        records = np.zeros(len(digests), dtype=self._record)
        for record, digest, row, factor in zip(records, digests, values, shrunk, strict=True):
            record["digest"] = np.void(bytes.fromhex(digest))
            record["shrunk"], record["values"] = factor, row
            record["check"] = self._checksum(record)
            self.add_known(digest, row, float(factor))
        with self._path.open("ab") as stream:
            stream.write(records.tobytes())

    def _drop_torn_end(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb+") as stream:
            size = stream.seek(0, 2)
            stream.truncate(size - size % self._record.itemsize)

    def _load(self, path: Path) -> None:
        whole = path.stat().st_size // self._record.itemsize
        if whole == 0:
            return
        records = np.memmap(path, dtype=self._record, mode="r", shape=(whole,))
        for record in records:
            if record["check"] == self._checksum(record):
                self.add_known(record["digest"].tobytes().hex(), record["values"], record["shrunk"])

    def _checksum(self, record: np.void) -> int:
        return zlib.crc32(record.tobytes()[: -self._record["check"].itemsize])
