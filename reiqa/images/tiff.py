"""Remove tags from the first page of TIFF files that do not affect the pixels.

When opening a page, Pillow parses other tags (resolution, EXIF, XMP), and warns or fails if one of
them is invalid.
"""

import io
import struct
from typing import IO, TypeAlias

import numpy as np

from reiqa.images.metadata import UPRIGHT
from reiqa.images.parts import Part, Stripped, joined

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _LENGTH, _COMPRESSION = 254, 255, 256, 257, 259
_ORIENTATION, _PROFILE, _DNG_VERSION = 274, 34675, 50706
_RAW, _OLD_JPEG = 1, 6

#: Tags that libtiff and Pillow need: layout, compression, colours, and old-style JPEG.
_PIXEL_TAGS = frozenset(
    {
        *(_WIDTH, _LENGTH, 258, _COMPRESSION, 262, 266, 273, 277, 278, 279, 284, 292, 293),
        *(317, 320, 322, 323, 324, 325, 332, 334, 338, 339, 340, 341, 347),
        *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
    }
)
#: Tags of offsets and sizes of strips or tiles.
_DATA_TAGS = ((273, 279), (324, 325))

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}

#: Maximum number of tags and strips of a page, and maximum size of a profile.
_MAX_TAGS, _MAX_STRIPS, _MAX_PROFILE = 4096, 1 << 22, 1 << 23
#: Maximum size of a page that Pillow reads completely: a constant plus bytes per pixel.
_PAGE_BYTES, _PIXEL_BYTES = 1 << 25, 16

#: Type and number of values, and the bytes of the values or of their offset.
_Entry: TypeAlias = tuple[int, int, bytes]


class ReducedCopyError(ValueError):
    """The first page is a preview of the photograph."""


def stripped(file: IO[bytes]) -> Stripped:
    """Keep only the tags that affect the pixels.

    Raises:
        ReducedCopyError: the page is a preview, as in the raw files of cameras.
        ValueError: the page is too large for its number of pixels.
    """
    page = _FirstDirectory(file)
    reduced = page.number(_NEW_SUBFILE_TYPE) & 1 or page.number(_SUBFILE_TYPE) == 2
    if reduced or _DNG_VERSION in page.entries:
        raise ReducedCopyError(
            "the first page is a preview, as in a camera's raw file; export the photograph as TIFF"
            " or JPEG first"
        )
    directory = page.directory()
    parts: list[Part] = [(0, page.start), directory, (page.start + len(directory), page.end())]
    orientation = page.number(_ORIENTATION)
    return Stripped(
        joined(file, parts), orientation if orientation in UPRIGHT else 1, page.profile()
    )


class _FirstDirectory:
    """The first directory of a file; raises `struct.error` if it is truncated."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        head = file.read(16)
        self._order = "<" if head[:2] == b"II" else ">"
        big = head[2] == 43
        self._place, self._entry = ("Q", "HHQ8s") if big else ("I", "HHI4s")
        self._count = "Q" if big else "H"
        (self.start,) = struct.unpack_from(self._order + self._place, head, 8 if big else 4)
        file.seek(self.start)
        (count,) = self._unpack(self._count, file.read(struct.calcsize(self._count)))
        size = struct.calcsize(self._order + self._entry)
        table = file.read(size * min(count, _MAX_TAGS))
        self.entries: dict[int, _Entry] = {}
        for at in range(0, len(table) - size + 1, size):
            tag, *entry = struct.unpack_from(self._order + self._entry, table, at)
            self.entries.setdefault(tag, tuple(entry))

    def _unpack(self, form: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + form, data)

    def directory(self) -> bytes:
        """Return the directory with pixel tags only; it is not longer than the original."""
        kept = [(tag, *entry) for tag, entry in self.entries.items() if tag in _PIXEL_TAGS]
        packed = [struct.pack(self._order + self._entry, *entry) for entry in kept]
        last = struct.pack(self._order + self._place, 0)
        return struct.pack(self._order + self._count, len(kept)) + b"".join(packed) + last

    def values(self, tag: int, most: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Return integer values; empty for other types or more than ``most`` values."""
        kind, count, raw = self.entries.get(tag, (0, 0, b""))
        if kind not in _NUMBERS or count > most:
            return np.empty(0, np.uint64)
        numbers = np.dtype(self._order + _NUMBERS[kind])
        data = self._bytes(raw, count * numbers.itemsize)
        whole = len(data) // numbers.itemsize * numbers.itemsize
        return np.frombuffer(data[:whole], numbers).astype(np.uint64)

    def number(self, tag: int) -> int:
        """Return the single value of a tag, or 0 if there is none."""
        found = self.values(tag, 1)
        return int(found[0]) if found.size else 0

    def profile(self) -> bytes:
        """Return the ICC profile; empty if there is none or it is too large."""
        kind, count, raw = self.entries.get(_PROFILE, (0, 0, b""))
        return self._bytes(raw, count) if kind in {1, 7} and count <= _MAX_PROFILE else b""

    def _bytes(self, raw: bytes, size: int) -> bytes:
        if size <= len(raw):
            return raw[:size]
        self._file.seek(*self._unpack(self._place, raw))
        return self._file.read(size)

    def end(self) -> int:
        """Return the end of the data that Pillow reads for the page.

        Raises:
            ValueError: it is too large for the number of pixels of the page.
        """
        end = self._file.seek(0, io.SEEK_END)
        if self.number(_COMPRESSION) in {0, _RAW}:
            return end
        starts, sizes = (
            np.concatenate([self.values(tags[which], _MAX_STRIPS) for tags in _DATA_TAGS])
            for which in (0, 1)
        )
        if starts.size and starts.size == sizes.size and self.number(_COMPRESSION) != _OLD_JPEG:
            ends = [self.start + len(self.directory()), int((starts + sizes).max())]
            for tag, (kind, count, raw) in self.entries.items():
                size = count * _SIZES.get(kind, 0)
                if tag in _PIXEL_TAGS and size > len(raw):
                    ends.append(self._unpack(self._place, raw)[0] + size)
            end = min(end, max(ends))
        pixels = self.number(_WIDTH) * self.number(_LENGTH)
        if end > _PAGE_BYTES + _PIXEL_BYTES * pixels:
            raise ValueError(f"the first page ends at byte {end:,}; save that page alone")
        return end
