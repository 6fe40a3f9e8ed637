"""Parts of a file: its end, and a virtual file that consists of parts of another file."""

import io
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any, TypeAlias

#: Literal bytes, or start and end (exclusive) of a range of the other file.
Part: TypeAlias = bytes | tuple[int, int]

#: Read buffer size; equals Pillow's block size.
_BUFFER = 1 << 16


@dataclass(frozen=True)
class Stripped:
    """An image file without metadata.

    Attributes:
        pixels: the file for Pillow.
        orientation: EXIF orientation, 1 to 8; None if Pillow has to determine it.
        profile: ICC profile, or empty.
    """

    pixels: IO[bytes]
    orientation: int | None = None
    profile: bytes = b""


def joined(file: IO[bytes], parts: list[Part]) -> IO[bytes]:
    """Return a virtual file of parts, which reads the underlying file lazily."""
    return io.BufferedReader(_Parts(file, parts), _BUFFER)


def tail(file: IO[bytes], count: int) -> bytes:
    """Return the last ``count`` bytes of a file, or fewer of a shorter one."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - count))
    return file.read()


class _Parts(io.RawIOBase):
    def __init__(self, file: IO[bytes], parts: list[Part]) -> None:
        self._file, self._at = file, 0
        self._parts = [part for part in _merged(parts) if _length(part)]
        self._ends = list(accumulate(map(_length, self._parts)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._ends[-1] if self._ends else 0
        self._at = max(
            0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        )
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        number = bisect(self._ends, self._at)
        if number == len(self._parts):
            return 0
        left = self._ends[number] - self._at
        part, count = self._parts[number], min(len(buffer), left)
        if isinstance(part, bytes):
            data = part[len(part) - left :][:count]
        else:
            self._file.seek(part[1] - left)
            data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else max(0, part[1] - part[0])


def _merged(parts: list[Part]) -> list[Part]:
    """Merge adjacent parts, as the pixels of a PNG may be in a hundred thousand chunks."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else b""
        if isinstance(part, tuple) and isinstance(last, tuple) and last[1] == part[0]:
            merged[-1] = (last[0], part[1])
        else:
            merged.append(part)
    return merged
