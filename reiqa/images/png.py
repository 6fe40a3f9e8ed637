"""A PNG without the chunks that do not concern its pixels.

Pillow reads text, profiles and EXIF while it opens a file, and refuses the whole image where one of
them is large or damaged. Dropped too are the frames of an animation after the default image.
"""

import io
import struct
import zlib
from typing import IO

from reiqa.images.metadata import parse_orientation
from reiqa.images.parts import Part, Stripped, joined

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Bytes of EXIF and of a compressed profile that are read, and of a profile unpacked; larger ones
#: are passed over.
_MAX_EXIF, _MAX_PROFILE = 1 << 16, 1 << 23
#: Chunks beyond which a file is taken as it is.
_MAX_CHUNKS = 1_000_000


def stripped(file: IO[bytes]) -> Stripped:
    """Keep the chunks that make the picture.

    EXIF counts wherever it stands: the specification wants it before the pixels, but programs write
    it behind them. What the header, gamma and chromaticity chunks say of colours is passed over.
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
            # Transparency concerns the pixels though it may be left out: damaged, it is.
            if _is_whole(file, kind, length, {b"\0": 2, b"\2": 6}.get(color_type, 1)):
                parts.append((at, stop))
        elif kind[:1].isupper():
            if kind == b"IHDR":
                color_type = file.read(10)[9:]
            parts.append((at, stop))
        elif kind == b"eXIf" and not exif:
            exif = file.read(min(length, _MAX_EXIF))
        elif kind == b"iCCP" and not profile and length <= _MAX_PROFILE:
            profile = _unpacked(file.read(length))
        at = stop
        if kind == b"IEND":
            return Stripped(joined(file, parts), parse_orientation(exif), profile)
    # Cut off, or no chunk any more: Pillow tells whether it does without.
    parts.append((at, end))
    return Stripped(joined(file, parts), parse_orientation(exif), profile)


def _is_whole(file: IO[bytes], kind: bytes, length: int, least: int) -> bool:
    body = file.read(min(length, 256) + 4)
    whole = least <= length <= 256 and len(body) == length + 4
    return whole and zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:], "big")


def _unpacked(chunk: bytes) -> bytes:
    """Decompress a profile; empty where it is damaged or too large."""
    _, _, rest = chunk.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""
