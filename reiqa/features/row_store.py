"""Append-only store of feature rows, so that an interrupted run can resume.

The files are not workflow outputs, so engines do not delete them. A file contains fixed-length
records with checksums. After a crash it ends with at most one partial record, which is dropped.
Rows are keyed by the digest of the image, so datasets with identical files share them.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reiqa.features.cache import Column, Rows

_DIGEST_BYTES = 32


class RowStore:
    """Rows of one recipe from all jobs, with one file that this job appends to.

    Only one job at a time may use a ``name``. Files of other names are only read.
    """

    def __init__(self, folder: Path, name: str, width: int) -> None:
        """Read the existing rows.

        Args:
            folder: folder for the rows of one recipe.
            name: name of this job.
            width: number of features per row.
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
        self._truncate_partial_record()
        for path in sorted(folder.glob("*.rows")):
            self._load(path)

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, digest: str) -> tuple[Rows, float]:
        """Return the features of an image ``(D,)`` and its downscaling factor."""
        return self._known[digest]

    def add_known(self, digest: str, values: Rows, shrunk: float) -> None:
        """Add a row without writing it to the file."""
        self._known[digest] = (values, shrunk)

    def append(self, digests: Sequence[str], values: Rows, shrunk: Column) -> None:
        """Append rows to the file in a single write.

        Args:
            digests: digests of N images.
            values: ``(N, D)`` features.
            shrunk: ``(N,)`` downscaling factors.
        """
        records = np.zeros(len(digests), dtype=self._record)
        for record, digest, row, factor in zip(records, digests, values, shrunk, strict=True):
            record["digest"] = np.void(bytes.fromhex(digest))
            record["shrunk"], record["values"] = factor, row
            record["check"] = self._checksum(record)
            self.add_known(digest, row, float(factor))
        with self._path.open("ab") as stream:
            stream.write(records.tobytes())

    def _truncate_partial_record(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb+") as stream:
            size = stream.seek(0, 2)
            stream.truncate(size - size % self._record.itemsize)

    def _load(self, path: Path) -> None:
        count = path.stat().st_size // self._record.itemsize
        if count == 0:
            return
        records = np.memmap(path, dtype=self._record, mode="r", shape=(count,))
        for record in records:
            if record["check"] == self._checksum(record):
                self.add_known(record["digest"].tobytes().hex(), record["values"], record["shrunk"])

    def _checksum(self, record: np.void) -> int:
        return zlib.crc32(record.tobytes()[: -self._record["check"].itemsize])
