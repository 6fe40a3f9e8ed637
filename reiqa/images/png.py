"""A PNG without the chunks that do not concern its pixels.

Pillow reads text, profiles and EXIF of a PNG while it opens it, and refuses the whole image where
one of them is large or damaged. It is given the chunks that make the picture; profile and EXIF are
taken here, each bounded.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

#: Bytes of EXIF, and of a profile once decompressed, beyond which it is ignored.
_MAX_EXIF, _MAX_PROFILE = 1 << 20, 1 << 23
#: Chunks beyond which a file is taken as it is.
_MAX_CHUNKS = 1_000_000


@contextmanager
def without_metadata(stream: IO[bytes]) -> Iterator[tuple[IO[bytes], dict[str, Any]]]:
    """Give a PNG's picture and, under Pillow's names, its ``exif`` and ``icc_profile``.

    A file of another kind is given as it is. EXIF counts wherever it stands.

    Args:
        stream: at its beginning; seekable.
    """
    if stream.read(len(_SIGNATURE)) != _SIGNATURE:
        stream.seek(0)
        yield stream, {}
        return
    spans = [(0, len(_SIGNATURE))]
    kept: dict[str, Any] = {}
    at, end = len(_SIGNATURE), stream.seek(0, io.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind in _PIXELS:
            spans.append((at, min(at + 12 + length, end)))
        elif kind == b"eXIf" and length <= _MAX_EXIF:
            kept.setdefault("exif", stream.read(length))
        elif (
            kind == b"iCCP" and length <= _MAX_PROFILE and (found := _profile(stream.read(length)))
        ):
            kept.setdefault("icc_profile", found)
        at += 12 + length
        if kind == b"IEND" or at >= end:
            break
    yield io.BufferedReader(_Spans(stream, spans)), kept


def _profile(chunk: bytes) -> bytes | None:
    """Decompress a profile; None where it is damaged or too large."""
    _, _, rest = chunk.partition(b"\0")
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(rest[1:], _MAX_PROFILE)
    except zlib.error:
        return None
    return profile if unpack.eof else None


class _Spans(io.RawIOBase):
    """Parts of a file, read as one."""

    def __init__(self, stream: IO[bytes], spans: list[tuple[int, int]]) -> None:
        self._stream, self._spans, self._at = stream, spans, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        length = sum(end - start for start, end in self._spans)
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        skip = self._at
        for start, end in self._spans:
            if skip < end - start:
                self._stream.seek(start + skip)
                part = self._stream.read(min(len(buffer), end - start - skip))
                buffer[: len(part)] = part
                self._at += len(part)
                return len(part)
            skip -= end - start
        return 0
