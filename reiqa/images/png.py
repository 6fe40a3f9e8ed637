"""Remove chunks from PNG files that do not affect the pixels.

When opening a file, Pillow parses text, profiles and EXIF, and rejects the image if one of them is
large or damaged. Animation frames after the default image are removed too.
"""

import io
import struct
import zlib
from typing import IO

from reiqa.images.metadata import parse_orientation
from reiqa.images.parts import Part, Stripped, joined, tail

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_END = b"\0\0\0\0IEND"

#: Maximum size of EXIF, and of a compressed or decompressed profile; larger ones are ignored.
_MAX_EXIF, _MAX_PROFILE = 1 << 16, 1 << 23
#: Maximum number of parsed chunks; the rest of the file is kept unchanged.
_MAX_CHUNKS = 1_000_000


def stripped(file: IO[bytes]) -> Stripped:
    """Keep only the chunks that affect the pixels.

    EXIF may follow the pixels, although the specification requires it before them. Gamma and
    chromaticity chunks are ignored.
    """
    parts: list[Part] = [(0, len(SIGNATURE))]
    exif, profile, color_type = b"", b"", b""
    at, end = len(SIGNATURE), file.seek(0, io.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or not head[4:].isalpha():
            break
        length, kind = struct.unpack(">I4s", head)
        stop = min(at + 12 + length, end)
        if kind == b"tRNS":
            # The transparency chunk is optional; drop it if it is damaged.
            if _is_valid_chunk(file, kind, length, {b"\0": 2, b"\2": 6}.get(color_type, 1)):
                parts.append((at, stop))
        elif kind[:1].isupper():
            if kind == b"IHDR":
                color_type = file.read(10)[9:]
            parts.append((at, stop))
        elif kind == b"eXIf" and not exif:
            exif = file.read(min(length, _MAX_EXIF))
        elif kind == b"iCCP" and not profile and length <= _MAX_PROFILE:
            profile = _decompress_profile(file.read(length))
        at = stop
        if kind == b"IEND":
            return Stripped(joined(file, parts), parse_orientation(exif), profile)
    # Truncated or invalid; let Pillow decide whether it can decode the rest.
    parts.append((at, end))
    return Stripped(joined(file, parts), parse_orientation(exif), profile)


def is_ended(file: IO[bytes]) -> bool:
    """Return whether a file has an end chunk."""
    if tail(file, 12).startswith(_END):
        return True
    file.seek(0)
    return _END in file.read()


def _is_valid_chunk(file: IO[bytes], kind: bytes, length: int, least: int) -> bool:
    body = file.read(min(length, 256) + 4)
    size_valid = least <= length <= 256 and len(body) == length + 4
    return size_valid and zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:], "big")


def _decompress_profile(chunk: bytes) -> bytes:
    """Decompress a profile; empty if it is damaged or too large."""
    _, _, rest = chunk.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""
